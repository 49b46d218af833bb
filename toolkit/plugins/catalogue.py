"""The plugins that declarations declare: listed, and one chosen by its kind and name. Imports none of them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from toolkit.errors import AmbiguousPlugin, BrokenPlugin, PluginError, UnknownPlugin, did_you_mean, join
from toolkit.hookspecs import CONTRACT_VERSION, KINDS, PluginSpec
from toolkit.plugins.declarations import Declaration, same_distribution
from toolkit.recipe.locations import Location, inside

LIST = "`toolkit list-plugins` lists all."


@dataclass(frozen=True)
class PluginInfo:
    """What is known of a plugin without importing it.

    Args:
        kind: extractor, fusion, head, loss or corpus; None for a broken declaration, which may hold any.
        name: as recipes write it; a broken declaration has its entry point's name.
        distribution: where it comes from.
        version: of that distribution.
        summary: one line.
        status: ambiguous where another distribution declares the same kind and name.
        error: why it is broken or how to choose, None where it is ok.
    """

    kind: str | None
    name: str
    distribution: str
    version: str
    summary: str
    status: Literal["ok", "broken", "ambiguous"]
    error: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Candidate:
    """A plugin with the declaration it stands in."""

    spec: PluginSpec
    declaration: Declaration

    def __str__(self):
        return f"{self.spec.kind} {self.spec.name!r} from {self.declaration.distribution} {self.declaration.version}"

    @property
    def full_name(self) -> str:
        """The name that is never ambiguous."""
        return f"{self.declaration.distribution}:{self.spec.name}"

    @property
    def misfit(self) -> str:
        """Why it cannot be used with this version of the contract and what to do, "" where it can."""
        if self.spec.allows(CONTRACT_VERSION):
            return ""
        distribution = self.declaration.distribution
        return (
            f"it was written for contract {self.spec.contract}, and this toolkit has contract {CONTRACT_VERSION}; "
            f"install a {distribution} for contract {CONTRACT_VERSION}, or a toolkit with contract {self.spec.contract}"
        )


class Catalogue:
    """The plugins that declarations declare.

    Args:
        answers: each declaration with its plugins, or with the reason why it has none.
    """

    def __init__(self, answers: Iterable[tuple[Declaration, list[PluginSpec] | BrokenPlugin]]):
        self._candidates: list[Candidate] = []
        self._misfits: list[Candidate] = []
        self._broken: list[PluginInfo] = []
        for declaration, answer in answers:
            if isinstance(answer, BrokenPlugin):
                self._add_broken(declaration, None, declaration.name, "", str(answer))
                continue
            for spec in answer:
                self._add(declaration, spec)

    def list_plugins(self, kind: str | None = None) -> list[PluginInfo]:
        """All plugins, or those of one kind, by kind and name; broken ones of unknown kind come last, without `kind`.

        Raises:
            PluginError: if there is no such kind.
        """
        check_kind(kind)
        infos = [self._info(c) for c in self._candidates if kind in (None, c.spec.kind)]
        infos += [info for info in self._broken if kind in (None, info.kind)]
        order = {known: index for index, known in enumerate(KINDS)}
        return sorted(infos, key=lambda info: (order.get(info.kind, len(order)), info.name, info.distribution))

    def kind_of(self, name: str) -> str:
        """The only kind in which a name, or distribution:name, is declared.

        Raises:
            UnknownPlugin: if there is none; says which name is nearest.
            AmbiguousPlugin: if there are several.
        """
        kinds = self._kinds_of(name)
        if len(kinds) > 1:
            raise AmbiguousPlugin(f"{name!r} is the name of {join(kinds)}; say which, e.g. {kinds[0]} {name}.")
        if not kinds:
            near = did_you_mean(name, sorted({candidate.spec.name for candidate in self._candidates}))
            raise UnknownPlugin(f"No plugin is called {name!r}.{near}{self._note()} {LIST}")
        return kinds[0]

    def info(self, kind: str, name: str) -> PluginInfo:
        """What is known of a plugin. Raises as `find` does."""
        return self._info(self.find(kind, name))

    def find(self, kind: str, name: str, where: Location | str = "") -> Candidate:
        """The plugin of a kind that a recipe's name means.

        Args:
            kind: one of the kinds.
            name: as recipes write it, perhaps with "distribution:" before it.
            where: the plugin's place in the recipe, for messages.

        Raises:
            PluginError: if there is no such kind.
            UnknownPlugin: says which name is nearest.
            AmbiguousPlugin: says what to write.
            BrokenPlugin: if it was written for another contract.
        """
        check_kind(kind)
        found = sorted(self._called(kind, name), key=lambda candidate: candidate.full_name)
        place = f"{inside(where, 'plugin')}: " if where else ""
        if len(found) == 1:
            return found[0]
        if found:
            choices = join((repr(c.full_name) for c in found), word="or")
            raise AmbiguousPlugin(f"{place}{join(str(c) for c in found)} have one name. Write {choices}.")
        for candidate in self._misfits:
            if candidate.spec.kind == kind and _is_called(candidate, name):
                raise BrokenPlugin(f"{place}{candidate} cannot be used: {candidate.misfit}.")
        raise UnknownPlugin(f"{place}{self._unknown(kind, name)}")

    def _add(self, declaration: Declaration, spec: PluginSpec) -> None:
        candidate = Candidate(spec, declaration)
        if candidate.misfit:
            self._misfits.append(candidate)
            self._add_broken(declaration, spec.kind, spec.name, spec.summary, candidate.misfit)
            return
        twice = any(c.spec.kind == spec.kind and c.full_name == candidate.full_name for c in self._candidates)
        if twice:
            error = f"{declaration.distribution} declares it twice; the first declaration counts"
            self._add_broken(declaration, spec.kind, spec.name, spec.summary, error)
        else:
            self._candidates.append(candidate)

    def _add_broken(self, declaration: Declaration, kind: str | None, name: str, summary: str, error: str) -> None:
        info = PluginInfo(kind, name, declaration.distribution, declaration.version, summary, "broken", error)
        self._broken.append(info)

    def _info(self, candidate: Candidate) -> PluginInfo:
        spec, declaration = candidate.spec, candidate.declaration
        others = [c for c in self._called(spec.kind, spec.name) if c is not candidate]
        names = join(dict.fromkeys(c.declaration.distribution for c in others)) if others else ""
        return PluginInfo(
            kind=spec.kind,
            name=spec.name,
            distribution=declaration.distribution,
            version=declaration.version,
            summary=spec.summary,
            status="ambiguous" if others else "ok",
            error=f"also declared by {names}; write {candidate.full_name!r}" if others else None,
        )

    def _called(self, kind: str, name: str) -> list[Candidate]:
        return [c for c in self._candidates if c.spec.kind == kind and _is_called(c, name)]

    def _unknown(self, kind: str, name: str) -> str:
        same_kind = [c for c in self._candidates if c.spec.kind == kind]
        known = [*(c.spec.name for c in same_kind), *(c.full_name for c in same_kind if ":" in name)]
        hint = did_you_mean(name, known)
        if other := self._kinds_of(name):
            hint = f" {join(other).capitalize()} {name!r} is known."
        return f"No {kind} is called {name!r}.{hint}{self._note()} {LIST}"

    def _kinds_of(self, name: str) -> list[str]:
        kinds = {candidate.spec.kind for candidate in self._candidates if _is_called(candidate, name)}
        kinds = kinds or {candidate.spec.kind for candidate in self._misfits if _is_called(candidate, name)}
        return [kind for kind in KINDS if kind in kinds]

    def _note(self) -> str:
        """What is broken may declare what is looked for."""
        broken = list(dict.fromkeys(info.distribution for info in self._broken if info.kind is None))
        return f" Broken, and perhaps where it is declared: {join(broken)}." if broken else ""


def _is_called(candidate: Candidate, name: str) -> bool:
    distribution, colon, short = name.rpartition(":")
    return candidate.spec.name == short and (
        not colon or same_distribution(distribution, candidate.declaration.distribution)
    )


def check_kind(kind: str | None) -> None:
    """Raise PluginError where there is no such kind; None passes."""
    if kind is not None and kind not in KINDS:
        raise PluginError(
            f"No kind of plugin is called {kind!r}.{did_you_mean(kind, KINDS)} Kinds: {', '.join(KINDS)}."
        )
