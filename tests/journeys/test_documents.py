"""A document's life over HTTP: uploaded, processed, found, processed again, deleted; and files that can't be read."""

import asyncio

import pytest
from httpx import AsyncClient

from tests.api.problem import require_problem
from tests.builders.entries import NOBODYS_ID
from tests.journeys.conftest import EXAMPLES
from tests.journeys.requests import (
    DOCUMENTS,
    NOTE,
    POSITION,
    Processed,
    process,
    search,
    sources,
    until_processed,
    upload,
)
from tests.workers.documents.samples import PICTURE_PAGE, docx_file, page, pdf, with_body, zip_file

TEXT_PDF = pdf([page((72, 700, 12, "Varves are layers of clay."))] * 20)
UNREADABLE = {
    "a PDF cut in half": (TEXT_PDF[: len(TEXT_PDF) // 2], "a.pdf", "corrupt"),
    "a ZIP bomb": (with_body(docx_file("x"), b"<w:document>" + b" " * 20_000_000), "a.docx", "too_large"),
    "a scan": (pdf([PICTURE_PAGE] * 3), "scan.pdf", "no_text_needs_ocr"),
    "a PDF with a password": (pdf([page((72, 700, 12, "secret"))], encrypted=True), "a.pdf", "encrypted"),
    "a workbook": (zip_file({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "a.xlsx", "unsupported_format"),
    "nothing but spaces": (b" \n\t\n ", "a.txt", "empty"),
}


@pytest.mark.usefixtures("system")
async def test_every_example_is_processed_and_found_in_every_mode(ann: AsyncClient):
    files = sorted(path for path in EXAMPLES.iterdir() if path.name != "README.md")
    uploads = [await upload(ann, path.read_bytes(), path.name) for path in files]
    documents = [await until_processed(ann, response) for response in uploads]
    assert {document.body["status"] for document in documents} == {"processed"}
    assert all(document.body["chunk_count"] > 0 and document.body["characters"] > 100 for document in documents)
    position = documents[-1].position
    for path, document in zip(files, documents, strict=True):
        for mode in ("hybrid", "text", "vector"):
            found = await search(ann, document.body["title"], position, mode=mode, document_id=document.id)
            assert found["hits"], (path.name, mode)
            assert {hit["source_id"] for hit in found["hits"]} == {document.id}
            assert found["degraded"] == []


@pytest.mark.usefixtures("system")
async def test_the_wait_for_processing_ends_with_all_that_was_found(ann: AsyncClient):
    uploaded = await upload(ann, category="geology", tags=["clay", "ice"])
    assert uploaded.status_code == 202
    document = await until_processed(ann, uploaded)
    assert document.body | {"created_at": None, "updated_at": None, "sha256": None} == {
        "document_id": uploaded.json()["aggregate_id"],
        "owner": "ann",
        "visibility": "tenant",
        "file_name": "varves.md",
        "media_type": "text/markdown",
        "size": len(NOTE.encode()),
        "sha256": None,
        "category": "geology",
        "tags": ["clay", "ice"],
        "status": "processed",
        "failure": None,
        "title": "Varves",
        "language": "en",
        "characters": document.body["characters"],
        "pages": None,
        "chunk_count": 1,
        "version": 3,
        "created_at": None,
        "updated_at": None,
    }


@pytest.mark.usefixtures("system")
async def test_the_history_shows_each_step_of_the_processing(ann: AsyncClient):
    document = await process(ann)
    history = (await ann.get(f"{document.url}/history")).json()["items"]
    assert [(item["event_type"], item["actor"]) for item in history] == [
        ("DocumentUploaded", "ann"),
        ("DocumentProcessingStarted", "varve"),
        ("DocumentProcessed", "varve"),
    ]
    assert len({item["correlation_id"] for item in history}) == 1


@pytest.mark.usefixtures("engine")
async def test_the_same_content_is_one_document_for_its_owner_and_another_for_others(
    ann: AsyncClient, ben: AsyncClient, eve: AsyncClient
):
    first = await upload(ann)
    again = await upload(ann, name="other-name.txt")
    require_problem(again, 409, "document-already-uploaded")
    assert again.json()["document_id"] == first.json()["aggregate_id"]
    others = [await upload(client) for client in (ben, eve)]
    assert [response.status_code for response in others] == [202, 202]


@pytest.mark.usefixtures("engine")
async def test_racing_uploads_of_one_file_make_one_document(ann: AsyncClient):
    responses = await asyncio.gather(*(upload(ann) for _ in range(6)))
    assert sorted(response.status_code for response in responses) == [202, 409, 409, 409, 409, 409]


@pytest.mark.usefixtures("system")
async def test_a_deleted_document_is_not_found_and_its_file_may_be_uploaded_again(ann: AsyncClient):
    document = await process(ann)
    assert await sources(ann, "clay ice", document.position) == [document.id]
    deleted = await ann.delete(document.url)
    assert deleted.status_code == 204
    position = deleted.headers[POSITION]
    for mode in ("hybrid", "text", "vector"):
        assert await sources(ann, "clay ice", position, mode=mode) == []
    shown = await ann.get(document.url, headers={"X-Min-Position": position})
    assert shown.json()["status"] == "deleted"
    listed = await ann.get(DOCUMENTS, headers={"X-Min-Position": position})
    assert listed.json()["items"] == []
    new = await process(ann)
    assert new.id != document.id
    assert await sources(ann, "clay ice", new.position) == [new.id]


@pytest.mark.usefixtures("system")
async def test_a_document_is_processed_again_on_request(ann: AsyncClient):
    document = await process(ann)
    before = await search(ann, "clay", document.position)
    again = await until_processed(ann, await ann.post(f"{document.url}/reprocess"))
    assert again.body["status"] == "processed"
    assert again.body["version"] == document.body["version"] + 3
    after = await search(ann, "clay", again.position)
    assert [hit["passage"] for hit in after["hits"]] == [hit["passage"] for hit in before["hits"]]
    old, new = (int(found["hits"][0]["position"].rpartition("-")[2]) for found in (before, after))
    assert new > old


@pytest.mark.usefixtures("engine")
async def test_a_document_that_waits_for_its_processing_can_not_be_sent_there_again(ann: AsyncClient):
    uploaded = await upload(ann)
    again = await ann.post(f"{uploaded.headers['Location']}/reprocess")
    require_problem(again, 409, "document-is-being-processed")


@pytest.mark.usefixtures("system")
async def test_files_that_can_not_be_read_end_as_failed_with_a_reason(ann: AsyncClient):
    uploads = {what: await upload(ann, content, name) for what, (content, name, _) in UNREADABLE.items()}
    ended = {what: await until_processed(ann, response) for what, response in uploads.items()}
    reasons = {what: (each.body["status"], each.body["failure"]["reason"]) for what, each in ended.items()}
    assert reasons == {what: ("failed", reason) for what, (_, _, reason) in UNREADABLE.items()}
    assert all(each.body["failure"]["message"].endswith(".") for each in ended.values())
    listed = (await ann.get(DOCUMENTS, params={"status": "failed"})).json()["items"]
    assert len(listed) == len(UNREADABLE)
    assert (await ann.get("/health/ready")).status_code == 200
    assert (await process(ann)).body["status"] == "processed", "the workers still work"


@pytest.mark.usefixtures("system")
async def test_a_document_that_failed_can_be_processed_again_and_fails_again(ann: AsyncClient):
    failed = await until_processed(ann, await upload(ann, b"  ", "a.txt"))
    again = await until_processed(ann, await ann.post(f"{failed.url}/reprocess"))
    assert again.body["failure"] == failed.body["failure"]
    assert again.body["version"] == failed.body["version"] + 3


async def test_a_file_without_bytes_is_refused(ann: AsyncClient, admin):
    require_problem(await upload(ann, b""), 422, "document-is-empty")
    assert await (await admin.execute("select count(*) from varve.events")).fetchone() == (0,)


class TestSmallUploads:
    @pytest.fixture
    def setting_overrides(self):
        return {"max_upload_bytes": 10_000}

    @pytest.mark.parametrize("size", [10_001, 3_000_000])
    async def test_a_file_that_is_too_large_is_refused(self, ann: AsyncClient, admin, size):
        refused = await upload(ann, b"x" * size, "large.txt")
        assert refused.status_code == 413, refused.text
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert await (await admin.execute("select count(*) from varve.events")).fetchone() == (0,)

    async def test_a_file_of_exactly_the_limit_is_taken(self, ann: AsyncClient):
        assert (await upload(ann, b"x" * 10_000, "large.txt")).status_code == 202


OTHER_SHAPES = {
    "JSON": {"json": {"file": "text"}},
    "a form without a file": {"data": {"file": "text"}},
    "a file in another field": {"files": {"document": ("a.txt", b"text", "text/plain")}},
    "a bare text": {"content": b"text", "headers": {"Content-Type": "text/plain"}},
    "a form that was cut": {
        "content": b"--x\r\nbroken",
        "headers": {"Content-Type": "multipart/form-data; boundary=x"},
    },
    "a form without a boundary": {"content": b"text", "headers": {"Content-Type": "multipart/form-data"}},
    "nothing": {},
}


async def test_an_upload_in_another_shape_is_refused(ann: AsyncClient):
    for shape, content in OTHER_SHAPES.items():
        refused = await ann.post(DOCUMENTS, **content)
        assert refused.status_code in {400, 415, 422}, shape
        assert refused.headers["Content-Type"] == "application/problem+json", shape


async def test_a_wrong_field_beside_the_file_is_refused(ann: AsyncClient):
    for form in ({"visibility": "everybody"}, {"category": "x" * 101}, {"category": "a\x00b"}, {"tags": ["t" * 101]}):
        require_problem(await upload(ann, **form), 422, "invalid-request")


async def test_a_wrong_media_type_decides_nothing(ann: AsyncClient, system):
    pdf_named_text = await until_processed(ann, await upload(ann, TEXT_PDF, "a.txt", "text/plain"))
    assert (pdf_named_text.body["status"], pdf_named_text.body["media_type"]) == ("processed", "application/pdf")


@pytest.mark.usefixtures("engine")
async def test_a_file_keeps_its_name_without_its_folders(ann: AsyncClient):
    for name in ("../../etc/passwd", "C:\\folder\\a.md", "名前.md", "x" * 300 + ".md"):
        uploaded = await upload(ann, name, name)  # its content differs, too
        shown = await ann.get(uploaded.headers["Location"], headers={"X-Min-Position": uploaded.headers[POSITION]})
        assert shown.json()["file_name"] == name.replace("\\", "/").rpartition("/")[2]


async def test_a_reader_may_not_upload_and_nothing_is_kept(rita: AsyncClient, settings):
    require_problem(await upload(rita), 403, "permission-denied")
    assert [path for path in settings.blobs.rglob("*") if path.is_file()] == []


async def chunks(client: AsyncClient, document: Processed, **parameters):
    headers = {"X-Min-Position": document.position}
    return await client.get(f"{document.url}/chunks", params=parameters, headers=headers)


@pytest.mark.usefixtures("system")
async def test_the_chunks_of_a_document_are_its_text_in_order_page_by_page(ann: AsyncClient):
    sections = "\n".join(f"## Section {number}\n\n{'Clay settles under the ice. ' * 60}\n" for number in range(4))
    document = await process(ann, f"# Varves\n\n{sections}")
    whole = (await chunks(ann, document)).json()
    assert whole["next_cursor"] is None
    items = whole["items"]
    assert [item["ordinal"] for item in items] == list(range(document.body["chunk_count"]))
    assert len(items) > 4
    assert all(item["end"] - item["start"] == len(item["text"]) for item in items)
    assert {tuple(item["heading_path"])[-1] for item in items} >= {f"Section {number}" for number in range(4)}
    paged = []
    cursor = None
    while True:
        page_read = (await chunks(ann, document, limit=2, **({"cursor": cursor} if cursor else {}))).json()
        paged += page_read["items"]
        cursor = page_read["next_cursor"]
        if cursor is None:
            break
    assert paged == items


@pytest.mark.usefixtures("system")
async def test_the_chunks_are_those_that_are_found(ann: AsyncClient):
    document = await process(ann)
    (chunk,) = (await chunks(ann, document)).json()["items"]
    (hit,) = (await search(ann, "clay", document.position))["hits"]
    assert chunk == {name: value for name, value in hit["passage"].items() if name != "highlight"}


@pytest.mark.usefixtures("system")
async def test_chunks_are_shown_to_whom_the_document_is(ann: AsyncClient, ben: AsyncClient, eve: AsyncClient):
    document = await process(ann, visibility="private")
    assert (await chunks(ann, document)).status_code == 200
    for client in (ben, eve):
        require_problem(await chunks(client, document), 404, "document-not-found")
    require_problem(await ann.get(f"{DOCUMENTS}/{NOBODYS_ID}/chunks"), 404, "document-not-found")
    for wrong in ({"limit": 0}, {"limit": 501}, {"unknown": 1}):
        require_problem(await chunks(ann, document, **wrong), 422, "invalid-request")
    require_problem(await chunks(ann, document, cursor="nonsense"), 400, "invalid-cursor")
