"""Folders of published corpora: their layout and names, with empty files."""

from pathlib import Path

EMODB = ["03a01Fa", "03a01Nc", "03a01Wa", "08a02Tb", "09b10La", "16b10Eb", "10a04Ad"]
CREMA_D = [
    "1001_DFA_ANG_XX",
    "1001_IEO_DIS_LO",
    "1002_IEO_SAD_HI",
    "1040_ITH_SAD_X",
    "1091_WSI_NEU_XX",
    "1091_IEO_HAP_MD",
]
DEMOGRAPHICS = """\
"ActorID","Age","Sex","Race","Ethnicity"
1001,51,"Male","Caucasian","Not Hispanic"
1002,21,"Female","Caucasian","Not Hispanic"
1040,42,"Male","Caucasian","Not Hispanic"
1091,29,"Female","Asian","Not Hispanic"
"""
ESC50 = "filename,fold,target,category,esc10,src_file,take\n" + "".join(
    f"{fold}-10003{fold}-A-{target}.wav,{fold},{target},{category},True,10003{fold},A\n"
    for fold in range(1, 6)
    for target, category in ((0, "dog"), (10, "rain"))
)
URBANSOUND8K = "slice_file_name,fsID,start,end,salience,fold,classID,class\n" + "".join(
    f"{fold}00032-{number}-0-0.wav,{fold}00032,58.5,62.5,1,{fold},{number},{label}\n"
    for fold in range(1, 11)
    for number, label in ((2, "children_playing"), (3, "dog_bark"))
)
COMMANDS = {
    "yes": "0a7c2a8d_nohash_0 0a7c2a8d_nohash_1 3cfc6b3a_nohash_0",
    "no": "0a7c2a8d_nohash_0 439c84f4_nohash_0 3cfc6b3a_nohash_0",
}
VALIDATION, TESTING = "no/439c84f4_nohash_0.wav\n", "yes/3cfc6b3a_nohash_0.wav\nno/3cfc6b3a_nohash_0.wav\n"
MSP_PODCAST = """\
FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1
MSP-PODCAST_0001_0009.wav,A,3.777778,3.555556,3.777778,30,Male,Test1
MSP-PODCAST_0023_0048.wav,X,5.2,2.6,5.0,127,Female,Development
MSP-PODCAST_0153_0190.wav,A,5.2,2.6,5.0,Unknown,Unknown,Train
MSP-PODCAST_0153_0191.wav,N,4.0,4.0,4.0,12,Female,Train
MSP-PODCAST_1188_0001.wav,N,4.0,4.0,4.0,30,Male,Test2
MSP-PODCAST_test3_0001.wav,O,4.0,4.0,4.0,Unknown,Unknown,Test3
"""
FILES = {
    "emodb": {f"wav/{name}.wav": "" for name in [*EMODB, "._03a01Fa"]},
    "crema_d": {f"AudioWAV/{name}.wav": "" for name in CREMA_D} | {"VideoDemographics.csv": DEMOGRAPHICS},
    "esc50": {"meta/esc50.csv": ESC50},
    "urbansound8k": {"metadata/UrbanSound8K.csv": URBANSOUND8K},
    "speech_commands": {f"{word}/{name}.wav": "" for word, names in COMMANDS.items() for name in names.split()}
    | {"validation_list.txt": VALIDATION, "testing_list.txt": TESTING, "_background_noise_/pink_noise.wav": ""},
    "msp_podcast": {"Labels/labels_consensus.csv": MSP_PODCAST},
}


def make_release(name: str, folder: Path) -> Path:
    """Write the files of a corpus into the folder, which is returned."""
    if name == "audformat":
        return make_audformat(folder)
    for file, text in FILES[name].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


def make_audformat(folder: Path) -> Path:
    """A database with a table for each split, and one of stretches of a file."""
    import audformat

    db = audformat.Database("db")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "joy"])
    people = {1: {"gender": "female"}, 2: {"gender": "male"}, 3: {"gender": "other"}, 4: {}}
    db.schemes["speaker"] = audformat.Scheme(labels=people)
    for split, speakers in (("train", [1, 1]), ("dev", [2, 2]), ("test", [3, 4])):
        db.splits[split] = audformat.Split(split)
        index = audformat.filewise_index([f"wav/{split}{number}.wav" for number in range(2)])
        db[split] = audformat.Table(index, split_id=split)
        for column, values in (("emotion", ["anger", "joy"]), ("speaker", speakers)):
            db[split][column] = audformat.Column(scheme_id=column)
            db[split][column].set(values)
    index = audformat.segmented_index(["wav/long.wav"] * 3, ["0s", "1.5s", "4s"], ["1.5s", "4s", None])
    db["stretches"] = audformat.Table(index)
    db["stretches"]["emotion"] = audformat.Column(scheme_id="emotion")
    db["stretches"]["emotion"].set(["joy", "anger", None])
    db.save(str(folder), storage_format="csv")
    return folder
