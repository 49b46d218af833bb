"""Tables that commands print; no torch."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from toolkit.errors import counted, printable
from toolkit.plugins.plugin import Plugin
from toolkit.plugins.signatures import REQUIRED, read_arguments, read_source
from toolkit.terminal import confusion_table, console_for_output, table_of

if TYPE_CHECKING:
    from toolkit.corpus.checks import CheckReport


def plain_table(*columns: str, folded: Collection[str] = (), right: Collection[str] = ()) -> Table:
    """A table without lines; columns that are not folded stay on one line."""
    table = Table(box=box.SIMPLE, header_style="bold")
    for column in columns:
        justify = "right" if column in right else "left"
        table.add_column(column, no_wrap=column not in folded, overflow="fold", justify=justify)
    return table


def print_recipes(recipes: Sequence[Mapping[str, Any]]) -> None:
    """One row per recipe, as `list-recipes --json` prints it."""
    table = plain_table("recipe", "what it is", "levels", "downloaded weights", folded=("what it is", "levels"))
    for recipe in recipes:
        weights = ", ".join(recipe["weights"].values()) or "none"
        table.add_row(recipe["name"], recipe["summary"], ", ".join(recipe["levels"]), weights)
    console_for_output().print(table)


def print_results(results: Mapping[str, Any]) -> None:
    """Print a run's test from its results.json: WA, UA, the row-normalised confusion matrix, and notes."""
    console, corpus = console_for_output(), "a synthetic corpus" if results["synthetic"] else results["corpus"]
    title = "Test of {system} on {}, fold {fold} of {protocol}, seed {seed}".format(corpus, **results)
    table = table_of("utterances", "WA %", "UA %", "macro F1 %", title=title)
    table.add_row(str(results["n_utterances"]), *(f"{100 * results[name]:.2f}" for name in ("wa", "ua", "macro_f1")))
    console.print(table)
    console.print(confusion_table(results["labels"], results["confusion"]))
    for stamp in results["stamps"]:
        console.print(f"NOTE: {stamp}", style="yellow", soft_wrap=True)


def print_check_report(report: "CheckReport") -> None:
    """The counts, the folds, and notes and problems in words."""
    from toolkit.corpus.checks import summarise

    print_counts(report.counts)
    if report.folds:
        print_folds(report.folds)
    for line in [*report.notes, *summarise(report.problems)]:
        click.echo(printable(line))


def print_counts(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Utterances by speaker and class, with sums; `counts` is speaker -> label -> number."""
    labels = list(dict.fromkeys(label for row in counts.values() for label in row))
    table = table_of("speaker", *labels, "all", title="Utterances by speaker and class")
    for speaker, row in {**counts, "all": sum(map(Counter, counts.values()), Counter())}.items():
        table.add_row(speaker, *(str(row.get(label, 0)) for label in labels), str(sum(row.values())))
    console_for_output().print(table)


def print_folds(folds: Sequence[Mapping[str, Any]]) -> None:
    """Who trains, validates and tests; `folds` as `fold_table` gives them."""
    from toolkit.corpus.folds import PARTS

    table = table_of("fold", *PARTS, title="Who trains, validates and tests")
    for fold in folds:
        table.add_row(fold["fold"], *(_members(**fold[part]) for part in PARTS))
    console_for_output().print(table)


def _members(speakers: Sequence[str], utterances: int) -> str:
    who = ", ".join(speakers) if len(speakers) <= 3 else counted(len(speakers), "speaker")
    return f"{who}: {counted(utterances, 'utterance')}".removeprefix(": ")


def print_audits(folds: Sequence[Mapping[str, Any]]) -> None:
    """A row for each part of each fold, with what it shares and its classes, then the problems in words."""
    console, parts = console_for_output(), [part for fold in folds for part in fold["parts"].values()]
    values = {column: sorted({value for part in parts for value in part[column]}) for column in ("gender", "label")}
    shown = [(column, value) for column, known in values.items() if 1 < len(known) <= 12 for value in known]
    kinds = {"speaker": "shared speakers", "audio": "same audio", "copy": "changed copies", "text": "shared sentences"}
    columns = ("utterances", "speakers", *kinds.values(), *(value for _, value in shown))
    table = plain_table("fold", "part", *columns, folded=("fold", *columns), right=columns)
    table.collapse_padding = True  # so that headings stay whole
    for fold in folds:
        for name, part in fold["parts"].items():
            if not part["utterances"]:
                continue
            shared = [part.get(f"shared_{kind}") for kind in kinds]
            shared = [f"{len(found['names'])} of {found['of']}" if found else "-" for found in shared]
            counts = [part[column].get(value, 0) for column, value in shown]
            table.add_row(fold["fold"], name, *map(str, [part["utterances"], part["speakers"], *shared, *counts]))
    console.print(table)
    problems = [(fold["fold"], problem) for fold in folds for problem in fold["problems"]]
    for fold, problem in problems:
        console.print(f"{fold}: {problem['severity']}: {problem['message']}", soft_wrap=True)
    leaking = dict.fromkeys(fold for fold, problem in problems if problem["severity"] == "error")
    unchecked = any(problem["kind"] in ("no-speakers", "no-audio") for _, problem in problems)
    clean = "Nothing leaks in what was checked." if unchecked else "Nothing leaks."
    console.print(f"LEAKS: {', '.join(leaking)}" if leaking else clean, soft_wrap=True)


def print_plugins(infos: Sequence[Mapping[str, Any]]) -> None:
    """One row per plugin, as `PluginInfo` describes it; an error is below the summary."""
    table = plain_table("kind", "name", "from", "what it is", folded=("from", "what it is"))
    for info in infos:
        about, status = Text(printable(info["summary"])), info["status"]
        if status != "ok":
            colour = "red" if status == "broken" else "yellow"
            about.append("\n" if info["summary"] else "").append(printable(f"{status}: {info['error']}"), style=colour)
        table.add_row(info["kind"] or "?", info["name"], f"{info['distribution']} {info['version']}", about)
    console_for_output().print(table)


def print_plugin(plugin: Plugin) -> None:
    """A plugin's arguments with types, defaults and meanings, and the paper it comes from."""
    console, cls, spec = console_for_output(), plugin.load(), plugin.spec
    arguments = read_arguments(cls)
    console.print(Text(f"{spec.kind} {spec.name}", style="bold"), f"from {plugin.declaration}")
    console.print(spec.summary)
    free = [argument for argument in arguments if argument.name not in plugin.context]
    if free:
        table = plain_table("argument", "type", "default", "meaning", folded=("type", "default", "meaning"))
        for argument in free:
            default = "required" if argument.default is REQUIRED else repr(argument.default)
            table.add_row(argument.name, argument.type, default, argument.meaning)
        console.print(table)
    else:
        console.print("It takes no arguments.")
    if given := [argument.name for argument in arguments if argument.name in plugin.context]:
        console.print(f"Given by the system: {', '.join(given)}")
    if source := read_source(cls):
        console.print(f"Source: {source}")
    console.print(f"Class: {cls.__module__}:{cls.__qualname__}")


def print_check(check: Mapping[str, Any]) -> None:
    """One row per property of a check; what was found is below a property that does not hold."""
    console, findings = console_for_output(), check["properties"]
    args = f" with {', '.join(f'{key}={value!r}' for key, value in check['args'].items())}" if check["args"] else ""
    title = f"{check['kind']} {check['name']} from {check['distribution']} {check['version']}{args}"
    console.print(title, style="bold")
    table = plain_table("holds", "property", "what it asks for", folded=("what it asks for",))
    for finding in findings:
        about = Text(finding["asks"])
        if finding["holds"] is False:
            about.append("\n").append(f"found: {printable(finding['detail'])}", style="red")
        if finding["holds"] is not None:
            table.add_row("yes" if finding["holds"] else Text("NO", style="red"), finding["property"], about)
    console.print(table)
    broken, untried = (sum(finding["holds"] is holds for finding in findings) for holds in (False, None))
    rest = f" {untried} were not tried: fix this first." if untried else ""
    found = f"{broken} of {len(findings)} properties {'does' if broken == 1 else 'do'} not hold.{rest}"
    console.print(found if broken else f"All {len(findings)} hold.")
