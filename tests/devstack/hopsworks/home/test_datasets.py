from __future__ import annotations

import io
import random

import pytest

from devstack.hopsworks.home.datasets import ChunkForm, Datasets, relative_parts
from devstack.hopsworks.home.errors import HopsworksError

D = "project/119/dataset"


@pytest.mark.parametrize(
    "path",
    ["Resources/x", "/Projects/demo/Resources/x", "Projects/demo/Resources/x", "hdfs:///Projects/demo/Resources//x"],
)
def test_all_spellings_of_a_path_mean_the_same(path):
    assert relative_parts(path, "demo") == ["Resources", "x"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("../api_key", 110005),
        ("Resources/../../api_key", 110005),
        ("/Projects/demo/../../x", 110005),
        ("Resources/\x00", 110005),
        ("/Projects/other/Resources/x", 110011),
    ],
)
def test_paths_that_leave_the_project_are_refused(path, code):
    with pytest.raises(HopsworksError) as refusal:
        relative_parts(path, "demo")
    assert refusal.value.code == code


def test_links_that_leave_the_project_are_refused(layout):
    (layout.datasets / "Resources" / "out").symlink_to(layout.home)
    with pytest.raises(HopsworksError, match="110005"):
        Datasets(layout).existing("Resources/out/api_key")


def test_encoded_traversal_over_http_reads_nothing(client):
    for path in ("..%2F..%2Fapi_key", "Resources%2F..%2F..%2Fapi_key", "%2FProjects%2Fdemo%2F..%2F..%2Fapi_key"):
        answer = client.get(f"{D}/download/with_auth/{path}")
        assert answer.status_code in (400, 404)
        assert "errorCode" in answer.json()


def _chunks(name: str, content: bytes, size: int) -> list[tuple[ChunkForm, bytes]]:
    parts = [content[i : i + size] for i in range(0, len(content), size)]
    form = {"identifier": f"{len(content)}_{name}", "filename": name, "total": len(parts), "total_size": len(content)}
    return [(ChunkForm(number=n, **form), part) for n, part in enumerate(parts or [b""], 1)]


@pytest.mark.parametrize("seed", range(5))
def test_chunks_in_any_order_make_the_file(layout, seed):
    datasets, random_ = Datasets(layout), random.Random(seed)
    content = random_.randbytes(random_.randint(0, 1000))
    chunks = _chunks("file.bin", content, 97)
    random_.shuffle(chunks)
    done = [datasets.add_chunk("Resources", form, io.BytesIO(part)) for form, part in chunks]
    assert done == [False] * (len(chunks) - 1) + [True]
    assert (layout.datasets / "Resources" / "file.bin").read_bytes() == content
    assert list(layout.uploads.iterdir()) == []


def test_the_first_chunk_shows_an_empty_file_and_a_repeated_chunk_does_no_harm(layout):
    datasets = Datasets(layout)
    first, second = _chunks("f", b"abcdef", 3)
    datasets.add_chunk("Resources", first[0], io.BytesIO(first[1]))
    assert (layout.datasets / "Resources" / "f").read_bytes() == b""
    datasets.add_chunk("Resources", first[0], io.BytesIO(first[1]))
    assert datasets.add_chunk("Resources", second[0], io.BytesIO(second[1]))
    assert (layout.datasets / "Resources" / "f").read_bytes() == b"abcdef"


@pytest.mark.parametrize(
    ("change", "code"),
    [({"filename": "../x"}, 110056), ({"number": 0}, 110056), ({"number": 3}, 110056), ({"total_size": 5}, 110056)],
)
def test_uploads_that_cannot_be_right_are_refused(layout, change, code):
    form, part = _chunks("f", b"abc", 3)[0]
    with pytest.raises(HopsworksError) as refusal:
        Datasets(layout).add_chunk("Resources", form.model_copy(update=change), io.BytesIO(part))
    assert refusal.value.code == code


def test_upload_onto_an_existing_file_is_refused(layout):
    datasets = Datasets(layout)
    form, part = _chunks("f", b"abc", 3)[0]
    datasets.add_chunk("Resources", form, io.BytesIO(part))
    with pytest.raises(HopsworksError, match="110012"):
        datasets.add_chunk("Resources", form, io.BytesIO(part))


def test_folders_files_and_listing_over_http(client):
    assert client.post(f"{D}/Resources/new?action=create").status_code == 201
    assert client.post(f"{D}/Resources/new?action=create").json()["errorCode"] == 110047
    data = {"flowIdentifier": "3_a", "flowFilename": "a.txt", "flowChunkNumber": "1", "flowTotalChunks": "1"}
    data |= {"flowTotalSize": "3", "templateId": "-1"}
    answer = client.post(f"{D}/upload/Resources/new", data=data, files={"file": ("blob", b"abc")})
    assert answer.status_code == 200
    listing = client.get(f"{D}/Resources/new?action=listing").json()
    assert [(i["attributes"]["name"], i["attributes"]["size"]) for i in listing["items"]] == [("a.txt", 3)]
    assert client.get(f"{D}/download/with_auth/%2FProjects%2Fdemo%2FResources%2Fnew%2Fa.txt").content == b"abc"
    copied = client.post(f"{D}/Resources/new/a.txt?action=copy&destination_path=Resources/b.txt")
    assert copied.status_code == 204
    assert client.delete(f"{D}/Resources/new").status_code == 204
    assert client.get(f"{D}/Resources/new").json()["errorCode"] == 110018
    assert client.get(f"{D}/Resources").json()["datasetType"] == "DATASET"
