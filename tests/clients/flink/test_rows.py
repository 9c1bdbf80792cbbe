"""Counting what a bounded job has written."""

from hopsworks_flink.clients.flink.rows import rows_written


def vertex(name, read=0, write=0, complete=True):
    metrics = {"read-records": read, "write-records": write}
    return {"name": name, "metrics": {**metrics, "read-records-complete": complete, "write-records-complete": complete}}


def test_what_the_writer_sent_without_its_messages_to_the_committer():
    vertices = [
        vertex("Source: KafkaSource-source -> Calc[2]", 4009, 1010),
        vertex("Sort[8] -> Calc[10] -> cards_2[11]: Writer", 1010, 1012),
        vertex("cards_2[11]: Committer", 2, 0),
    ]
    assert rows_written(vertices, ["cards_2"]) == {"cards_2": 1010}


def test_figures_that_tell_nothing():
    shared = [vertex("Calc[1] -> (a_1[2]: Writer, b_1[3]: Writer)", 5, 12), vertex("a_1[2]: Committer", 1)]
    assert rows_written(shared, ["a_1", "b_1"]) == {"a_1": None, "b_1": None}
    unfinished = [vertex("a_1[2]: Writer", 1, 7, complete=False), vertex("a_1[2]: Committer", 1)]
    assert rows_written(unfinished, ["a_1"]) == {"a_1": None}
    assert rows_written([], ["a_1"]) == {"a_1": None}
