package bench;

import bench.avro.FeatureRow;
import bench.avro.Transaction;
import java.io.IOException;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.formats.avro.AvroDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;

/**
 * The same windows as a careful Java developer writes them: one deserialization schema and one writer for all records,
 * no reflection, Welford's deviation, accumulators changed in place, the producer's batches as large as the pipeline's.
 */
public final class FairJob {
    public static void main(String[] words) throws Exception {
        Arguments arguments = new Arguments(words);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
        env.getConfig().enableObjectReuse();
        env.fromSource(
                        arguments.source(KafkaRecordDeserializationSchema.valueOnly(
                                AvroDeserializationSchema.forSpecific(Transaction.class))),
                        Arguments.<Transaction>watermarks().withTimestampAssigner((event, time) -> event.getDatetime()),
                        "transactions")
                .keyBy(Transaction::getCcNum)
                .window(SlidingEventTimeWindows.of(Arguments.SIZE, Arguments.SLIDE))
                .aggregate(new Aggregate(), new WithCard())
                .sinkTo(arguments.sink(new RowSerializer(arguments.get("--sink")), true));
        env.execute(arguments.get("--name"));
    }

    static final class Aggregate implements AggregateFunction<Transaction, Moments, Moments> {
        @Override
        public Moments createAccumulator() {
            return new Moments();
        }

        @Override
        public Moments add(Transaction event, Moments moments) {
            moments.add(event.getAmount());
            return moments;
        }

        @Override
        public Moments getResult(Moments moments) {
            return moments;
        }

        @Override
        public Moments merge(Moments a, Moments b) {
            a.add(b);
            return a;
        }
    }

    static final class WithCard extends ProcessWindowFunction<Moments, FeatureRow, Long, TimeWindow> {
        @Override
        public void process(Long card, Context context, Iterable<Moments> found, Collector<FeatureRow> out) {
            Moments moments = found.iterator().next();
            out.collect(new FeatureRow(card, moments.events, moments.average(), moments.deviation()));
        }
    }

    private FairJob() {}
}
