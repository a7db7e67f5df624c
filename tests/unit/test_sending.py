"""What `ebbmark send` makes of flags, files, names and events."""

import argparse
import os
import re
import resource
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbmark.imaging.operation import operations_schema
from ebbmark.imaging.recipe import MOST_OPERATIONS, operation_of, recipe_from_form
from ebbmark.imaging.watermark import Watermark
from ebbmark.presets import shipped
from ebbmark.sending.files import earlier_namesakes, find_photos, pieces, save
from ebbmark.sending.flags import add_arguments, flags, form_fields
from ebbmark.sending.snapshots import snapshots
from ebbmark.sending.trouble import WRONG, RefusedError, SendError
from ingest.names import result_names, safe_name


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["a.jpg", *words])


def fields(*words: str) -> dict[str, str]:
    return form_fields(vars(parsed(*words)))


def test_every_parameter_of_every_operation_has_a_flag_that_its_form_understands() -> None:
    wanted = {
        (str(operation["name"]), parameter)
        for operation in operations_schema()
        for parameter in operation["parameters"]["properties"]  # pyright: ignore[reportIndexIssue]
    }
    assert {(flag.label, flag.parameter) for flag in flags() if flag.parameter and not flag.further} == wanted
    given = fields(
        "--width", "800", "--fit", "inside", "--no-outline", "--angle", "-30", "--text", "© Ann", "--enlarge"
    )
    resize, watermark = recipe_from_form([given.pop("operations")], given).operations
    assert (resize.width, resize.fit, resize.enlarge) == (800, "inside", True)
    assert (watermark.text, watermark.outline, watermark.angle) == ("© Ann", False, -30)


def test_a_flag_implies_its_operation_and_the_order_is_the_useful_one() -> None:
    assert fields("--width", "800") == {"operations": "resize", "resize.width": "800"}
    assert fields("--grayscale") == {"operations": "grayscale"}
    everything = fields("--format", "webp", "--text", "x", "--radius", "0.1", "--grayscale", "--height", "9")
    assert everything["operations"] == "resize,blur,grayscale,watermark,convert"
    assert fields("--logo", "l.png") == {"operations": "watermark"}


def test_operations_named_come_in_the_order_named() -> None:
    assert fields("--operations", "watermark,resize", "--width", "8", "--text", "x")["operations"] == (
        "watermark,resize"
    )


def test_an_empty_text_is_still_said() -> None:
    assert fields("--text", "") == {"operations": "watermark", "watermark.text": ""}


def test_a_recipe_goes_as_it_is_and_not_beside_flags() -> None:
    assert fields("--recipe", '{"operations":[]}') == {"recipe": '{"operations":[]}'}
    for also in (["--width", "8"], ["--grayscale"], ["--operations", "blur"]):
        with pytest.raises(SendError, match="not by both"):
            fields("--recipe", "{}", *also)


def test_two_operations_with_one_parameter_get_a_flag_each() -> None:
    plugins: list[dict[str, object]] = [
        {"name": "frame", "parameters": {"properties": {"size": {}, "json": {}}}},
        {"name": "tint", "parameters": {"properties": {"size": {}, "dark_ink": {}}}},
        {"name": "sepia", "parameters": {"properties": {}}},
    ]
    assert {option: flag.field for flag in flags(plugins) for option in flag.options} == {
        "--frame.size": "frame.size",
        "--frame.json": "frame.json",  # `--json` is the command's own
        "--tint.size": "tint.size",
        "--dark-ink": "tint.dark_ink",
        "--tint.dark-ink": "tint.dark_ink",
        "--sepia": "sepia",
    }


def test_a_flag_may_name_its_operation() -> None:
    assert fields("--watermark.text", "© Ann", "--no-watermark.outline") == {
        "operations": "watermark",
        "watermark.text": "© Ann",
        "watermark.outline": "False",
    }


def test_every_parameter_of_a_mark_has_a_flag_for_as_many_marks_as_a_form_takes() -> None:
    parameters = Watermark.__struct_fields__
    labels = ["watermark", *(f"watermark.{number}" for number in range(2, MOST_OPERATIONS + 1))]
    assert [flag.label for flag in flags() if flag.parameter == "text"] == labels
    assert {flag.field for flag in flags() if operation_of(flag.label) == "watermark"} == {
        f"{label}.{parameter}" for label in labels for parameter in parameters
    }
    asked = fields(*(word for label in labels for word in (f"--{label}.text", label)))
    marks = recipe_from_form([asked.pop("operations")], asked).operations
    assert [mark.text for mark in marks] == labels  # pyright: ignore[reportAttributeAccessIssue]


def test_a_further_mark_is_one_of_its_own() -> None:
    asked = fields(
        *("--text", "© Ann", "--no-watermark.2.outline", "--watermark.2.text", "PROOF"),
        *("--watermark.2.position", "tiled", "--watermark.2.relative-to", "diagonal", "--width", "900"),
    )
    assert asked.pop("operations") == "resize,watermark,watermark.2"
    _, first, second = recipe_from_form(["resize,watermark,watermark.2"], asked).operations
    assert first == Watermark(text="© Ann")
    assert second == Watermark(text="PROOF", position="tiled", relative_to="diagonal", outline=False)


def test_a_further_mark_may_be_the_only_one_and_may_be_added_to_a_preset_s() -> None:
    assert fields("--watermark.2.text", "x") == {"operations": "watermark.2", "watermark.2.text": "x"}
    asked = fields("--preset", "web-proof", "--watermark.2.text", "x")
    assert asked.pop("preset") == "web-proof"
    proof = shipped()["web-proof"].recipe
    recipe = recipe_from_form([asked.pop("operations")], asked, proof)
    assert [mark for mark in recipe.operations if isinstance(mark, Watermark)] == [
        *(mark for mark in proof.operations if isinstance(mark, Watermark)),
        Watermark(text="x"),
    ]


def test_a_logo_is_of_the_first_mark_unless_flags_say_which() -> None:
    assert fields("--logo", "l.png", "--watermark.2.text", "x") == {
        "operations": "watermark,watermark.2",
        "watermark.2.text": "x",
    }
    assert fields("--logo", "l.png", "--watermark.2.logo") == {
        "operations": "watermark.2",
        "watermark.2.logo": "True",
    }
    assert fields("--logo", "l.png", "--text", "x", "--watermark.2.logo")["operations"] == (
        "watermark,watermark.2"
    )


def test_operations_name_a_mark_again_or_by_its_number() -> None:
    words = ("--text", "a", "--watermark.2.text", "b")
    for named in ("watermark, watermark", "watermark.2,watermark"):
        assert fields("--operations", named, *words)["operations"] == named
    with pytest.raises(SendError, match=r"--watermark\.2\.text is of watermark\.2, which"):
        fields("--operations", "watermark", *words)


def test_only_marks_have_flags_for_further_ones() -> None:
    plugins: list[dict[str, object]] = [
        {"name": "stamp", "kind": "mark", "parameters": {"properties": {"dark_ink": {}}}},
        {"name": "seal", "kind": "mark", "parameters": {"properties": {}}},
        {"name": "tint", "kind": "filter", "parameters": {"properties": {"shade": {}}}},
    ]
    options = [flag.options for flag in flags(plugins)]
    assert options[:2] == [("--dark-ink", "--stamp.dark-ink"), ("--stamp.2.dark-ink",)]
    assert options[MOST_OPERATIONS - 1 :] == [
        ("--stamp.16.dark-ink",),
        ("--seal",),
        ("--shade", "--tint.shade"),
    ]


def test_the_help_says_once_that_there_may_be_several_marks() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    told = " ".join(parser.format_help().split())
    assert told.count("watermark.2.X") == told.count("watermark.16") == 1
    assert "--watermark.2.text" not in told
    assert "the second has --watermark.2.X for each --watermark.X, and so on to --watermark.16.X." in told
    assert "resize.2" not in told


def test_flags_go_before_what_a_preset_says() -> None:
    assert fields("--preset", "web-proof") == {"preset": "web-proof"}
    assert fields("--preset", "web-proof", "--text", "x", "--grayscale") == {
        "preset": "web-proof",
        "operations": "grayscale,watermark",
        "watermark.text": "x",
    }
    assert fields("--preset", "web-proof", "--operations", "blur", "--width", "9") == {
        "preset": "web-proof",
        "operations": "blur",
        "resize.width": "9",
    }
    with pytest.raises(SendError, match="not by both"):
        fields("--recipe", "{}", "--preset", "web-proof")


def test_the_help_of_a_flag_says_what_it_takes_and_what_holds_without_it() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    told = " ".join(parser.format_help().split())
    assert "0 is invisible, 1 hides what is below. (a number from 0 to 1) [0.6]" in told
    assert "--position {bottom,bottom-left," in told


@pytest.mark.parametrize("flag", [["--format", "gif"], ["--wdth=8"], ["--fit"], ["--watermark.17.text=x"]])
def test_a_wrong_flag_ends_with_2(flag: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*flag)
    assert ended.value.code == 2


def test_folders_stand_for_the_photos_in_them(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.webp", "deep/c.Jpeg", "d.png", "f.HEIC", "g.tif", "notes.txt", "e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "album.jpg").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos([tmp_path], tmp_path / "marked")]
    assert found == ["a.webp", "b.JPG", "d.png", "deep/c.Jpeg", "f.HEIC", "g.tif"]
    assert find_photos([tmp_path / "e.mp4"], tmp_path) == [tmp_path / "e.mp4"]  # named, so meant


def test_what_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.jpg"):
        with pytest.raises(SendError) as refused:
            find_photos([path], tmp_path / "marked")
        assert refused.value.exit_code == WRONG


def test_a_result_never_overwrites_a_file(tmp_path: Path) -> None:
    saved = [save(tmp_path, "a.b.jpg", content) for content in (b"1", b"2", b"3")]
    assert [path.name for path in saved] == ["a.b.jpg", "a.b (2).jpg", "a.b (3).jpg"]
    assert [path.read_bytes() for path in saved] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("name", ["../../evil.jpg", "/etc/evil.jpg", "..", ".", "", "e\0vil.jpg", "a/.."])
def test_a_server_cannot_name_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert save(out, name, b"x").parent == out
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@contextmanager
def a_full_disk(after: int) -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_half_a_result_has_no_name(tmp_path: Path) -> None:
    with a_full_disk(after=10), pytest.raises(RefusedError) as refused:
        save(tmp_path, "a.jpg", b"x" * 100)
    assert refused.value.code == "unwritable-file"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_links_takes_results_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    saved = [save(tmp_path, "a.jpg", content) for content in (b"1", b"2")]
    assert [(path.name, path.read_bytes()) for path in saved] == [("a.jpg", b"1"), ("a (2).jpg", b"2")]
    assert sorted(tmp_path.iterdir()) == sorted(saved)


@pytest.mark.parametrize("name", ["я" * 124 + ".jpg", "a" * 251 + ".jpg", "x." + "y" * 253, "z" * 255])
def test_the_longest_name_has_room_for_a_number(tmp_path: Path, name: str) -> None:
    saved = [save(tmp_path, name, b"x") for _ in range(12)]
    assert len(set(saved)) == 12
    assert saved[0].name == name
    assert " (12)" in saved[11].name
    assert len(Path(name).suffix) > 16 or {path.suffix for path in saved} == {Path(name).suffix}


def test_results_of_an_earlier_command_are_not_sent_again(tmp_path: Path) -> None:
    for name in ("a.jpg", "marked/a.jpg", "marked too/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    out = tmp_path / "marked"
    names = [path.relative_to(tmp_path).as_posix() for path in find_photos([tmp_path], out)]
    assert names == ["a.jpg", "marked too/b.jpg"]
    assert find_photos([out], out) == [out / "a.jpg"]  # named, so meant
    assert len(find_photos([tmp_path], tmp_path)) == 3


def test_a_file_is_read_piece_by_piece_and_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 600_000)
    lengths = [len(piece) for piece in pieces(tmp_path / "a.jpg")]
    assert (sum(lengths), max(lengths) < 300_000) == (600_000, True)
    with pytest.raises(RefusedError, match="unreadable-file"):
        list(pieces(tmp_path))


@pytest.mark.parametrize("words", [["--grayscale"], ["--text", "x"], ["--logo", "l.png"]])
def test_a_flag_of_an_operation_that_is_left_out_is_refused(words: list[str]) -> None:
    with pytest.raises(SendError, match=f"{words[0]} is of .*, which --operations does not name"):
        fields("--operations", "resize", "--width", "8", *words)
    assert fields("--operations", "resize, grayscale", "--width", "8", "--grayscale")


def test_what_is_not_utf_8_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(SendError, match=re.escape("watermark.text is not UTF-8")):
        fields("--text", os.fsdecode(b"\xe9t\xe9"))


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("a.jpg", "A.JPG"),
        ("a.jpg", "a (2).jpg"),
        ("v1.2", "v1.2.jpg"),
        ("a.png", "a.webp"),
        (".a.jpg", "a.jpg"),
        ("c:\\x\\a.jpg", "a.jpg"),
        ("a?.jpg", "a_.jpg"),
        ("ж" * 200 + "1.jpg", "ж" * 200 + "2.jpg"),
    ],
)
def test_names_whose_results_may_want_one_name_are_namesakes(earlier: str, later: str) -> None:
    names = [earlier, "other.jpg", later]
    assert earlier_namesakes([Path("x") / name for name in names]) == [[], [], [0]]


_names = st.text("aAжßé .(2)\u0301\u2028\\?jpg", min_size=1, max_size=9)


@given(_names, _names, st.sampled_from(["", ".jpg", ".JPEG", ".png", " (2).jpg"]))
def test_whoever_decides_on_a_photo_s_number_is_its_namesake(earlier: str, later: str, end: str) -> None:
    both = result_names((n, safe_name(name), "image/jpeg") for n, name in enumerate((earlier, later + end)))
    alone = result_names([(1, safe_name(later + end), "image/jpeg")])
    if both[1] != alone[1]:
        assert earlier_namesakes([Path(earlier), Path(later + end)]) == [[], [0]]


def test_by_a_template_without_their_stems_all_results_may_want_one_name() -> None:
    photos = [Path("a.jpg"), Path("b.jpg"), Path("A.png")]
    assert earlier_namesakes(photos, "{stem}-{width}") == earlier_namesakes(photos) == [[], [], [0]]
    assert earlier_namesakes(photos, "{{{stem}}}") == [[], [], [0]]
    for alike in ("holiday-{width}", "{{stem}}", "{{{{stem}", "stem"):
        assert earlier_namesakes(photos, alike) == [[], [0], [0, 1]]


def test_a_name_for_the_results_goes_with_flags_and_with_a_recipe() -> None:
    assert fields("--grayscale", "--name", "{stem}-web") == {"operations": "grayscale", "name": "{stem}-web"}
    assert fields("--operations", "blur", "--name", "x")["name"] == "x"
    assert fields("--recipe", "{}", "--name", "x") == {"recipe": "{}", "name": "x"}


def test_photos_of_a_camera_wait_for_nobody() -> None:
    assert not any(earlier_namesakes([Path(f"IMG_{n:04}.JPG") for n in range(500)]))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_an_event_stream_is_read_in_whatever_pieces_it_comes(end: str, size: int) -> None:
    job = '{"state":"open","version":%d,"done":0,"failed":0,"total":null,"photos":[],"name":"a\u2028\x85b"}'
    lines = [": ping", "", "id: 7", "event: snapshot", f"data: {job % 7}", "", "event: end", "data: x", ""]
    lines += ["id: 9", "event: snapshot", f"data: {job % 9}", "", "id: 10", "event: snapshot", ""]
    stream = "".join(line + end for line in lines[:-3]).encode()

    async def in_pieces() -> AsyncGenerator[bytes]:
        for start in range(0, len(stream), size):
            yield stream[start : start + size]

    assert [(seen, status.version) async for seen, status in snapshots(in_pieces())] == [("7", 7), ("9", 9)]
