import pytest

from domain.knowledge.document import (
    DOCUMENT,
    decide_complete,
    decide_delete,
    decide_fail,
    decide_reprocess,
    decide_start,
    decide_upload,
)
from domain.knowledge.errors import (
    DocumentIsBeingProcessed,
    DocumentIsDeleted,
    DocumentNotFound,
    ProcessingAttemptIsOver,
)
from domain.shared.access import system_actor
from tests.builders.actors import ANN, BEN
from tests.builders.documents import (
    DOCUMENT_ID,
    document_deleted,
    failed,
    processed,
    processed_content,
    reprocessing_requested,
    started,
    uploaded,
    uploaded_file,
)
from tests.spec import given

WORKER = system_actor("acme")


def start(attempt=1):
    return lambda state: decide_start(state, DOCUMENT_ID, attempt, WORKER)


def complete(attempt=1):
    return lambda state: decide_complete(state, DOCUMENT_ID, attempt, processed_content(), WORKER)


def fail(attempt=1):
    return lambda state: decide_fail(state, DOCUMENT_ID, attempt, "corrupt", "The file is damaged.", WORKER)


def reprocess(actor=ANN):
    return lambda state: decide_reprocess(state, DOCUMENT_ID, actor)


def delete(actor=ANN):
    return lambda state: decide_delete(state, DOCUMENT_ID, actor)


EVERY_REPORT = pytest.mark.parametrize("report", [start, complete, fail])
PENDING = pytest.mark.parametrize("history", [(uploaded(),), (uploaded(), started())], ids=["uploaded", "processing"])
ENDED = pytest.mark.parametrize("outcome", [processed(), failed()], ids=["processed", "failed"])


class TestUploading:
    def test_makes_the_actor_the_owner(self):
        given(DOCUMENT).when(lambda _: decide_upload(DOCUMENT_ID, uploaded_file(), BEN)).then(uploaded(owner="ben"))


class TestProcessing:
    def test_starts(self):
        given(DOCUMENT, uploaded()).when(start()).then(started())

    def test_that_a_dead_worker_had_started_goes_on(self):
        given(DOCUMENT, uploaded(), started()).when(start()).then_nothing()

    @PENDING
    def test_ends_with_the_content(self, history):
        given(DOCUMENT, *history).when(complete()).then(processed())

    @PENDING
    def test_ends_with_a_reason(self, history):
        given(DOCUMENT, *history).when(fail()).then(failed())

    def test_of_anothers_private_document_is_the_workers_business(self):
        given(DOCUMENT, uploaded(visibility="private")).when(start()).then(started())

    @EVERY_REPORT
    @ENDED
    def test_that_has_ended_takes_no_more_reports(self, report, outcome):
        given(DOCUMENT, uploaded(), started(), outcome).when(report()).then_refused(
            ProcessingAttemptIsOver, document_id=DOCUMENT_ID, attempt=1
        )

    @EVERY_REPORT
    def test_of_an_older_attempt_takes_no_more_reports(self, report):
        given(DOCUMENT, uploaded(), failed(), reprocessing_requested()).when(report(1)).then_refused(
            ProcessingAttemptIsOver, document_id=DOCUMENT_ID, attempt=1
        )

    @EVERY_REPORT
    def test_of_an_attempt_that_nobody_asked_for_is_refused(self, report):
        given(DOCUMENT, uploaded()).when(report(2)).then_refused(
            ProcessingAttemptIsOver, document_id=DOCUMENT_ID, attempt=2
        )

    @EVERY_REPORT
    def test_of_a_deleted_document_is_refused(self, report):
        given(DOCUMENT, uploaded(), document_deleted()).when(report()).then_refused(
            DocumentIsDeleted, document_id=DOCUMENT_ID
        )

    @EVERY_REPORT
    def test_of_a_document_that_is_not_there_is_refused(self, report):
        given(DOCUMENT).when(report()).then_refused(DocumentNotFound, document_id=DOCUMENT_ID)


class TestReprocessing:
    @ENDED
    def test_asks_for_the_next_attempt(self, outcome):
        given(DOCUMENT, uploaded(), started(), outcome).when(reprocess()).then(reprocessing_requested(2))

    def test_counts_on(self):
        given(DOCUMENT, uploaded(), failed(), reprocessing_requested(2), failed(2)).when(reprocess()).then(
            reprocessing_requested(3)
        )

    @PENDING
    def test_is_refused_while_an_attempt_is_pending(self, history):
        given(DOCUMENT, *history).when(reprocess()).then_refused(DocumentIsBeingProcessed, document_id=DOCUMENT_ID)

    def test_is_refused_while_the_next_attempt_is_pending(self):
        given(DOCUMENT, uploaded(), failed(), reprocessing_requested()).when(reprocess()).then_refused(
            DocumentIsBeingProcessed, document_id=DOCUMENT_ID
        )

    def test_starts_and_ends_the_new_attempt(self):
        history = (uploaded(), failed(), reprocessing_requested())
        given(DOCUMENT, *history).when(start(2)).then(started(2))
        given(DOCUMENT, *history, started(2)).when(complete(2)).then(processed(2))

    def test_is_refused_for_a_deleted_document(self):
        given(DOCUMENT, uploaded(), failed(), document_deleted()).when(reprocess()).then_refused(
            DocumentIsDeleted, document_id=DOCUMENT_ID
        )

    def test_is_refused_for_anothers_private_document_as_if_it_were_not_there(self):
        given(DOCUMENT, uploaded(visibility="private"), failed()).when(reprocess(BEN)).then_refused(
            DocumentNotFound, document_id=DOCUMENT_ID
        )


class TestDeleting:
    @pytest.mark.parametrize(
        "history",
        [(uploaded(),), (uploaded(), started()), (uploaded(), processed()), (uploaded(), failed())],
        ids=["uploaded", "processing", "processed", "failed"],
    )
    def test_deletes_in_every_state(self, history):
        given(DOCUMENT, *history).when(delete()).then(document_deleted())

    def test_twice_changes_nothing(self):
        given(DOCUMENT, uploaded(), document_deleted()).when(delete()).then_nothing()

    def test_is_refused_for_a_document_that_is_not_there(self):
        given(DOCUMENT).when(delete()).then_refused(DocumentNotFound, document_id=DOCUMENT_ID)

    def test_is_refused_for_anothers_private_document_as_if_it_were_not_there(self):
        given(DOCUMENT, uploaded(visibility="private")).when(delete(BEN)).then_refused(
            DocumentNotFound, document_id=DOCUMENT_ID
        )
