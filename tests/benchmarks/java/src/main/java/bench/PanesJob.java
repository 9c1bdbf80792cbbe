package bench;

import bench.avro.FeatureRow;
import bench.avro.Transaction;
import java.io.IOException;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.formats.avro.AvroDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * What an expert would write who knows the data: events shrink to three numbers at the source, each event is added to
 * one pane of a minute, and a timer of each card merges ten panes into a window. With {@code --decoder by-hand} the
 * Avro bytes are read without the library's records, which breaks with the next change of the schema.
 */
public final class PanesJob {
    static final long PANE = Arguments.SLIDE.toMillis();
    static final int PANES = (int) (Arguments.SIZE.toMillis() / PANE);
    // More than a window: disorder, and a partition that is ahead of the others, fill panes before their windows fire.
    static final int RING = 2 * PANES;

    public static void main(String[] words) throws Exception {
        Arguments arguments = new Arguments(words);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
        env.getConfig().enableObjectReuse();
        env.fromSource(
                        arguments.source(new Deserializer(arguments.get("--decoder", "avro").equals("by-hand"))),
                        Arguments.<Event>watermarks().withTimestampAssigner((event, time) -> event.time),
                        "transactions")
                .keyBy(event -> event.card)
                .process(new Windows())
                .sinkTo(arguments.sink(new RowSerializer(arguments.get("--sink")), true));
        env.execute(arguments.get("--name"));
    }

    /** What the features need of a transaction. */
    public static class Event {
        public long card;
        public long time;
        public double amount;
        public boolean hasAmount;

        public Event() {}
    }

    static final class Deserializer implements KafkaRecordDeserializationSchema<Event> {
        private final boolean byHand;
        private final AvroDeserializationSchema<Transaction> schema =
                AvroDeserializationSchema.forSpecific(Transaction.class);
        private transient BinaryDecoder decoder;
        private transient Event event;

        Deserializer(boolean byHand) {
            this.byHand = byHand;
        }

        @Override
        public void open(DeserializationSchema.InitializationContext context) throws Exception {
            schema.open(context);
        }

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Event> out) throws IOException {
            // Not shared with the one before: events wait in a batch between the fetcher and the task.
            event = new Event();
            if (byHand) {
                decode(record.value());
            } else {
                Transaction transaction = schema.deserialize(record.value());
                event.card = transaction.getCcNum();
                event.time = transaction.getDatetime();
                event.hasAmount = transaction.getAmount() != null;
                event.amount = event.hasAmount ? transaction.getAmount() : 0;
            }
            out.collect(event);
        }

        private void decode(byte[] value) throws IOException {
            decoder = DecoderFactory.get().binaryDecoder(value, decoder);
            if (decoder.readIndex() == 1) {
                decoder.skipString();
            }
            decoder.readIndex();
            event.time = decoder.readLong();
            decoder.readIndex();
            event.card = decoder.readLong();
            event.hasAmount = decoder.readIndex() == 1;
            event.amount = event.hasAmount ? decoder.readDouble() : 0;
        }

        @Override
        public TypeInformation<Event> getProducedType() {
            return TypeInformation.of(Event.class);
        }
    }

    /** The newest panes of a card, by the number of their minute modulo the ring's length. */
    public static class Panes {
        public long[] minute = new long[RING];
        public long[] events = new long[RING];
        public long[] values = new long[RING];
        public double[] mean = new double[RING];
        public double[] squares = new double[RING];
        public long timer;

        public Panes() {}

        /** Slot of a minute, emptied if it held one that no window needs any more. */
        int slot(long wanted, long oldestNeeded) {
            int at = (int) (wanted % minute.length);
            while (events[at] > 0 && minute[at] != wanted && minute[at] >= oldestNeeded) {
                grow();
                at = (int) (wanted % minute.length);
            }
            if (minute[at] != wanted) {
                minute[at] = wanted;
                events[at] = values[at] = 0;
                mean[at] = squares[at] = 0;
            }
            return at;
        }

        private void grow() {
            Panes larger = new Panes();
            int length = 2 * minute.length;
            larger.minute = new long[length];
            larger.events = new long[length];
            larger.values = new long[length];
            larger.mean = new double[length];
            larger.squares = new double[length];
            for (int from = 0; from < minute.length; from++) {
                int to = (int) (minute[from] % length);
                if (events[from] > 0) {
                    larger.minute[to] = minute[from];
                    larger.events[to] = events[from];
                    larger.values[to] = values[from];
                    larger.mean[to] = mean[from];
                    larger.squares[to] = squares[from];
                }
            }
            minute = larger.minute;
            events = larger.events;
            values = larger.values;
            mean = larger.mean;
            squares = larger.squares;
        }
    }

    static final class Windows extends KeyedProcessFunction<Long, Event, FeatureRow> {
        private transient ValueState<Panes> state;

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("panes", Panes.class));
        }

        @Override
        public void processElement(Event event, Context context, Collector<FeatureRow> out) throws Exception {
            Panes panes = state.value();
            if (panes == null) {
                panes = new Panes();
            }
            long minute = Math.floorDiv(event.time, PANE);
            long end = (minute + 1) * PANE;
            long watermark = context.timerService().currentWatermark();
            if (watermark >= end + (PANES - 1) * PANE - 1) {
                return;
            }
            long oldest = Math.floorDiv(watermark + 1, PANE) - PANES + 1;
            add(panes, panes.slot(minute, oldest), event);
            long due = Math.max(end, Math.floorDiv(watermark + 1, PANE) * PANE + PANE);
            if (panes.timer == 0 || due < panes.timer) {
                panes.timer = due;
                context.timerService().registerEventTimeTimer(due - 1);
            }
            state.update(panes);
        }

        private static void add(Panes panes, int at, Event event) {
            panes.events[at]++;
            if (event.hasAmount) {
                long values = ++panes.values[at];
                double delta = event.amount - panes.mean[at];
                panes.mean[at] += delta / values;
                panes.squares[at] += delta * (event.amount - panes.mean[at]);
            }
        }

        @Override
        public void onTimer(long timestamp, OnTimerContext context, Collector<FeatureRow> out) throws Exception {
            Panes panes = state.value();
            long last = (timestamp + 1) / PANE - 1;
            if (panes == null || panes.timer != timestamp + 1) {
                return;
            }
            Moments sum = new Moments();
            Moments pane = new Moments();
            boolean more = false;
            for (int at = 0; at < panes.minute.length; at++) {
                if (panes.events[at] > 0 && panes.minute[at] > last - PANES) {
                    more |= panes.minute[at] > last - PANES + 1;
                    if (panes.minute[at] <= last) {
                        pane.events = panes.events[at];
                        pane.values = panes.values[at];
                        pane.mean = panes.mean[at];
                        pane.squares = panes.squares[at];
                        sum.add(pane);
                    }
                }
            }
            if (sum.events > 0) {
                out.collect(new FeatureRow(context.getCurrentKey(), sum.events, sum.average(), sum.deviation()));
            }
            if (more) {
                panes.timer = timestamp + 1 + PANE;
                context.timerService().registerEventTimeTimer(panes.timer - 1);
                state.update(panes);
            } else {
                state.clear();
            }
        }
    }

    private PanesJob() {}
}
