"""A store in one file: read as its folder is, never written to, and unpacked with care."""

import gzip
import io
import os
import re
import tarfile
import tempfile

import pytest
import torch
from safetensors.torch import save_file

import bitnet_sweep
from bitnet_sweep.commands.verbs import run_verb
from bitnet_sweep.config import ConfigError, plain
from bitnet_sweep.dashboard.__main__ import main as dashboard
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.report.__main__ import main as report
from bitnet_sweep.status.__main__ import main as status
from bitnet_sweep.store import Store, archive, opened
from bitnet_sweep.store.archive import pack
from bitnet_sweep.track.sync import main as sync
from tests.report.conftest import StoreWriter
from tests.sweep.command import run as command

CONTENT = {"store.json": b'{"schema": 1}', "runs/a/records.jsonl": b"{}\n", "runs/a/empty": b""}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, empty whatever became of an archive."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def writer(tmp_path):
    """A sweep of three runs, one of which no store holds."""
    store = StoreWriter(tmp_path / "store")
    store.run("a", {1: 9.0, 50: 8.0, 60: 5.0, 100: 5.0}, wd2=0.0)
    store.run("b", {1: 9.0, 50: 8.0, 60: 8.0, 100: 8.5}, wd2=0.05)
    store.sweep("s", ["a", "b", "c"])
    return store


def written(folder, times=1_000_000_000, names=tuple(CONTENT)):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT[name])
        os.utime(path, (times, times))
    return folder


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def forged(path, *members, fmt=tarfile.PAX_FORMAT):
    """An archive of members as given; a regular one has as many zeros as it says."""
    with tarfile.open(path, "w:gz", format=fmt) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)) if member.isreg() else None)
    return path


def member(name, kind=tarfile.REGTYPE, size=0, link=""):
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


def test_what_is_packed_is_read_again(tmp_path):
    path = tmp_path / "s.tar.gz"
    pack(written(tmp_path / "store"), path)
    with opened(path) as folder:
        assert content(folder) == CONTENT
    assert not folder.exists()
    with opened(tmp_path / "store") as folder:
        assert folder == tmp_path / "store"


def test_equal_files_give_equal_bytes(tmp_path):
    """In whatever order, when and for whom they were written."""
    pack(written(tmp_path / "1" / "store"), tmp_path / "1.tar.gz")
    other = written(tmp_path / "2" / "store", 1_700_000_000, tuple(reversed(CONTENT)))
    (other / "store.json").chmod(0o600)
    pack(other, tmp_path / "another name.tar.gz")
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "another name.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "1.tar.gz") as tar:
        assert tar.getnames() == [f"store/{name}" for name in sorted(CONTENT)]


@pytest.mark.parametrize("name", [".", "store"], ids=["at the top", "in a folder"])
def test_archives_of_tar_itself_are_read(tmp_path, name):
    """As ``tar czf x.tar.gz -C store .`` and ``tar czf x.tar.gz store`` make them, folders and owners in."""
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(written(tmp_path / "store"), name)
    with opened(tmp_path / "x.tar.gz") as folder:
        assert content(folder) == CONTENT


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        pytest.param(member("store/l", tarfile.SYMTYPE, link="/etc/passwd"), "neither", id="link"),
        pytest.param(member("store/l", tarfile.SYMTYPE, link="store.json"), "neither", id="link inside"),
        pytest.param(member("store/l", tarfile.LNKTYPE, link="store/store.json"), "neither", id="hard link"),
        pytest.param(member("store/l", tarfile.FIFOTYPE), "neither", id="pipe"),
        pytest.param(member("store/l", tarfile.CHRTYPE), "neither", id="device"),
        pytest.param(member("/tmp/forged"), "leads out", id="absolute"),
        pytest.param(member("../forged"), "leads out", id="parent"),
        pytest.param(member("store/a/../../../forged"), "leads out", id="parent inside"),
        pytest.param(member("../forged", tarfile.DIRTYPE), "leads out", id="parent folder"),
        pytest.param(member("store/store.json/x"), "Not a directory", id="file in a file"),
        pytest.param(member("store/" + "x" * 300), "too long", id="name too long"),
        pytest.param(member("store/big", size=20_000), "20,000 bytes", id="too much"),
    ],
)
def test_what_is_not_safe_is_refused(tmp_path, monkeypatch, bad, why):
    monkeypatch.setattr(archive, "MAX_BYTES", 20_000)
    path = forged(tmp_path / "x.tar.gz", member("store/store.json"), bad)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=f"(?i){why}") as refused, opened(path):
        pass
    assert str(refused.value).startswith(f"STORE={path}: ")
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    three = [member(f"runs/{number}") for number in range(3)]
    with opened(forged(tmp_path / "3.tar.gz", *three)) as folder:
        assert len(content(folder)) == 3
    with (
        pytest.raises(ConfigError, match="one file too many"),
        opened(forged(tmp_path / "4.tar.gz", *three, member("runs/4"))),
    ):
        pass


def header(name, kind, size):
    """One block, whose size tarfile itself would not write."""
    made = bytearray(member(name, kind).tobuf(tarfile.GNU_FORMAT))
    made[124:136] = size
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made[:512])
    return bytes(made[:512])


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, b"?"])
@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"\x80" + b"\0" * 6 + b"\x7f\xff\xff\xff\xff", b"\xff" * 10 + b"\xfe\0"]
)
def test_forged_sizes_take_neither_memory_nor_time(tmp_path, kind, size):
    """8 GiB, 546 GiB and a negative one, which sent tarfile round in circles up to Python 3.11.13."""
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(header("store/x", kind, size) + bytes(10_240)))
    with pytest.raises(ConfigError, match="STORE="), opened(path):
        pass


def test_headers_without_end_are_refused(tmp_path):
    one = header("x", tarfile.XHDTYPE, b"00000000011\0") + b"9 a=bcde\n".ljust(512, b"\0")
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(one * 5_000 + bytes(10_240)))
    with pytest.raises(ConfigError, match="STORE="), opened(tmp_path / "x.tar.gz"):
        pass


def half(data):
    return data[: len(data) // 2]


def flipped(data):
    """A bit of what is stored, in the last third, where it is no header's."""
    place = len(data) - 100
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [half, flipped, lambda data: data[:-8], lambda _: b"", lambda _: b"no archive", gzip.decompress],
    ids=["half", "a bit", "no checksum", "empty", "text", "not compressed"],
)
def test_damage_is_told_in_one_line(tmp_path, damage):
    store = tmp_path / "store"
    (store / "runs" / "a").mkdir(parents=True)
    (store / "runs" / "a" / "records.jsonl").write_bytes(os.urandom(5_000))
    path = tmp_path / "x.tar.gz"
    pack(store, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError) as refused, opened(path):
        pass
    assert str(refused.value).startswith(f"STORE={path}: cannot be read as an archive (")
    assert "\n" not in str(refused.value)


def test_what_is_not_there_and_what_is_no_store(tmp_path, capsys):
    with pytest.raises(ConfigError, match="there is no such archive"), opened(tmp_path / "x.tar.gz"):
        pass
    path = forged(tmp_path / "y.tar.gz", member("a/b/store.json"), member("c"))
    for main in (status, lambda words: report([*words, "--out", str(tmp_path / "out")])):
        assert main([str(path)]) == 2
        assert capsys.readouterr().err.strip().endswith(f"STORE={path}: holds no store")
    assert not (tmp_path / "out").exists()


def test_the_report_of_an_archive_is_its_stores(writer, tmp_path, capsys):
    """Byte for byte but for the store's name, which is the path as given, and for commands that write."""
    path = tmp_path / "s.tar.gz"
    (writer.root / "sweeps" / "broken.json").write_text("{")
    pack(writer.root, path)
    made = {}
    for given in (writer.root, path):
        out = tmp_path / "out"
        assert report([str(given), "--out", str(out), "--check"]) == 1, "a run is missing"
        made[given] = {
            name: text.replace(str(given).encode(), b"STORE")
            for name, text in content(out).items()
            if not name.endswith(".png")
        }
    screens = capsys.readouterr()
    commands = re.compile(rb"<h4>Commands</h4>\n<dl>.*</dl>\n*")
    assert not commands.search(made[path]["report.html"])
    made[writer.root]["report.html"] = commands.sub(b"", made[writer.root]["report.html"])
    assert made[path] == made[writer.root]
    assert b"STORE" in made[path]["tables/provenance.csv"]
    assert b"sweep broken of STORE" in made[path]["report.md"]
    assert str(tempfile.tempdir) not in screens.out + screens.err
    assert not any(str(tempfile.tempdir).encode() in text for text in made[path].values())


def test_the_status_of_an_archive_is_its_stores(writer, tmp_path, capsys):
    pack(writer.root, tmp_path / "s.tar.gz")
    screens = []
    for given in (writer.root, tmp_path / "s.tar.gz"):
        assert status([str(given)]) == 0
        screens.append(capsys.readouterr().out)
    assert screens[0] == screens[1]
    assert "finished" in screens[0]


def test_a_model_is_loaded_from_an_archive(tiny, tmp_path):
    config = tiny()
    model = Transformer(config.model, config.tokenizer.vocab_size, 5, config.precision)
    folder = Store(tmp_path / "store").run("a")
    folder.path.mkdir(parents=True)
    folder.write_config(plain(config))
    save_file(
        {name: parameter.detach() for name, parameter in model.named_parameters()}, str(folder.final_path)
    )
    pack(tmp_path / "store", tmp_path / "s.tar.gz")
    loaded = bitnet_sweep.load_run(tmp_path / "s.tar.gz", "a")
    kept = dict(model.named_parameters())
    assert all(torch.equal(parameter, kept[name]) for name, parameter in loaded.named_parameters())
    with pytest.raises(FileNotFoundError):
        bitnet_sweep.load_run(tmp_path / "s.tar.gz", "b")


def test_the_records_of_an_archive_are_its_stores(writer, tmp_path):
    """With the names that its sweeps gave, and not those of a report."""
    runs = [{"run_id": id_, "name": f"named {id_}", "stage_ids": [id_], "stage_ends": [100]} for id_ in "ab"]
    writer.sweep("s", ["a", "b"], runs=runs)
    pack(writer.root, tmp_path / "s.tar.gz")
    frame = bitnet_sweep.records(tmp_path / "s.tar.gz")
    assert set(frame["name"]) == {"named a", "named b"}
    assert frame.equals(bitnet_sweep.records(writer.root))


@pytest.mark.parametrize("verb", [["show"], ["rm"], ["generate", "--prompt=x"]], ids=" ".join)
def test_verbs_that_need_a_folder_say_so(writer, tmp_path, capsys, monkeypatch, verb):
    path = tmp_path / "s.tar.gz"
    pack(writer.root, path)
    before = path.read_bytes()
    monkeypatch.setattr("sys.argv", ["bitnet-sweep", *verb, "a", "--store", str(path)])
    assert run_verb() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"STORE={path}: is an archive, and a folder is needed here: unpack it and name that")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "write",
    [
        lambda path: sync([path]),
        lambda path: status([path, "--clean", "--yes"]),
        lambda path: dashboard(["a/b", path]),
    ],
    ids=["sync", "clean", "dashboard"],
)
def test_what_would_write_refuses_an_archive(writer, tmp_path, capsys, write):
    path = tmp_path / "s.tar.gz"
    pack(writer.root, path)
    before = path.read_bytes()
    assert write(str(path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"STORE={path}: is an archive, which is only read; unpack it and name the folder")
    assert path.read_bytes() == before


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.slow
def test_training_refuses_an_archive(writer, tmp_path, there):
    """Also one that is not there, which would be made as a folder of that name."""
    if there:
        pack(writer.root, tmp_path / "s.tar.gz")
    exit_status, _, err = command(tmp_path, "store=s.tar.gz", "track=none")
    assert exit_status == 2
    assert err.splitlines()[-1].endswith(
        "store=s.tar.gz: is an archive, which is only read; unpack it and name the folder"
    )
    assert (tmp_path / "s.tar.gz").is_file() is there
