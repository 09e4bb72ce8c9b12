"""Task files: what they may say, and the one line where they may not."""

import hashlib
import json
import socket

import pytest

from bitnet_sweep.config import ConfigError
from bitnet_sweep.evaluate.tasks import read_tasks, require_hub

TASK = {
    "task": "quiz",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "quiz.jsonl"}},
    "output_type": "multiple_choice",
}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def written(tmp_path):
    """Writes a task file, and documents beside it."""
    (tmp_path / "quiz.jsonl").write_text('{"a": 1}\n')

    def write(document, name="tasks.json"):
        text = document if isinstance(document, str) else json.dumps(document)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_what_is_read(written, tmp_path):
    path = written(TASK)
    found = read_tasks(path, online=False)
    assert found.sha256 == sha256(json.dumps(TASK))
    assert found.data == {"quiz.jsonl": sha256('{"a": 1}\n')}
    (task,) = found.tasks
    assert task == TASK | {"dataset_kwargs": {"data_files": {"test": str(tmp_path / "quiz.jsonl")}}}
    assert found.record == f"tasks.{found.content[:8]}"


@pytest.mark.parametrize("named", ["quiz.jsonl", ["quiz.jsonl"], {"test": ["quiz.jsonl"]}])
def test_files_of_every_form(written, tmp_path, named):
    (task,) = read_tasks(
        written(TASK | {"dataset_kwargs": {"data_files": named, "field": "x"}}), online=False
    ).tasks
    whole = str(tmp_path / "quiz.jsonl")
    turned = whole if isinstance(named, str) else [whole] if isinstance(named, list) else {"test": [whole]}
    assert isinstance(task, dict)
    assert task["dataset_kwargs"] == {"data_files": turned, "field": "x"}


def test_a_change_of_tasks_or_documents_is_another_version(written, tmp_path):
    first = read_tasks(written(TASK), online=False)
    assert read_tasks(written([TASK]), online=False).content != first.content
    (tmp_path / "quiz.jsonl").write_text('{"a": 2}\n')
    other = read_tasks(written(TASK), online=False)
    assert other.sha256 == first.sha256
    assert other.content != first.content
    assert other.record != first.record
    (tmp_path / "quiz.jsonl").write_text('{"a": 1}\n')
    assert read_tasks(written(TASK), online=False) == first


REFUSED = {
    "no JSON": ("{", "is no JSON"),
    "no task": ([], "holds no task"),
    "a number": (3, 'a task is an object with its name at "task"'),
    "no name": ({"dataset_path": "json"}, 'a task is an object with its name at "task"'),
    "a group": (
        {"group": "g", "task": ["a"]},
        'a task is an object with its name at "task"',
    ),
    "twice": ([TASK, TASK], "has the task 'quiz' twice"),
    "from the hub": (
        TASK | {"dataset_path": "EleutherAI/lambada_openai"},
        "dataset_path='EleutherAI/lambada_openai'; allowed: arrow, csv, json, parquet, text, or a name of "
        "the hub with --online",
    ),
    "of the harness": (["lambada_openai"], "the documents of 'lambada_openai' are not local; allowed with"),
    "no files": (TASK | {"dataset_kwargs": {}}, "names no files at dataset_kwargs.data_files"),
    "files of another kind": (
        TASK | {"dataset_kwargs": {"data_files": {"test": 3}}},
        "3 at dataset_kwargs.data_files is no file's name",
    ),
    "a file that is not there": (
        TASK | {"dataset_kwargs": {"data_files": "gone.jsonl"}},
        "gone.jsonl cannot be read (No such file or directory)",
    ),
}


@pytest.mark.parametrize(("document", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(written, document, told):
    path = written(document)
    with pytest.raises(ConfigError) as caught:
        read_tasks(path, online=False)
    assert str(caught.value).startswith(f"--tasks={path}: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none.json cannot be read \(No such file or directory\)$"):
        read_tasks(tmp_path / "none.json", online=False)


def test_what_is_allowed_online(written):
    asked = ["lambada_openai", TASK | {"dataset_path": "EleutherAI/x"}]
    found = read_tasks(written(asked), online=True)
    assert (found.tasks, found.data) == (asked, {})


def test_a_hub_without_an_answer_is_one_line_soon(written, monkeypatch):
    """A server that takes connections and says nothing: the harness itself would wait for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(
            "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}"
        )
        require_hub([read_tasks(written(TASK), online=True)])
        with pytest.raises(ConfigError) as error:
            require_hub([read_tasks(written([TASK, "arc_easy"]), online=True)])
    assert str(error.value).startswith(
        "--online=true: the documents of 'arc_easy' are to be downloaded, and http://127.0.0.1:"
    )
    assert str(error.value).endswith("gave no answer within 2.5 s")
