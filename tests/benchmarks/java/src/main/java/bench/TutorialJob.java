package bench;

import bench.avro.FeatureRow;
import bench.avro.Transaction;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.reflect.Field;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.reflect.ReflectDatumWriter;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple5;
import org.apache.flink.api.java.typeutils.ResultTypeQueryable;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.formats.avro.AvroDeserializationSchema;
import org.apache.flink.formats.avro.typeutils.GenericRecordAvroTypeInfo;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * Shaped like the platform's Flink tutorial and its client library: a deserialization schema for each record, sliding
 * windows over tuples, rows turned into Avro by reflection, a writer for each row. The deviation, which the tutorial
 * leaves at zero, is made from a sum of squares.
 */
public final class TutorialJob {
    public static void main(String[] words) throws Exception {
        Arguments arguments = new Arguments(words);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
        env.getConfig().enableObjectReuse();
        env.fromSource(
                        arguments.source(new Deserializer()),
                        Arguments.<Transaction>watermarks().withTimestampAssigner((event, time) -> event.getDatetime()),
                        "transactions")
                .rescale()
                .rebalance()
                .keyBy(Transaction::getCcNum)
                .window(SlidingEventTimeWindows.of(Arguments.SIZE, Arguments.SLIDE))
                .aggregate(new Aggregate())
                .map(new ToAvro())
                .sinkTo(arguments.sink(new Serializer(arguments.get("--sink")), false));
        env.execute(arguments.get("--name"));
    }

    static final class Deserializer implements KafkaRecordDeserializationSchema<Transaction> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Transaction> out) throws IOException {
            out.collect(AvroDeserializationSchema.forSpecific(Transaction.class).deserialize(record.value()));
        }

        @Override
        public TypeInformation<Transaction> getProducedType() {
            return TypeInformation.of(Transaction.class);
        }
    }

    static final class Aggregate
            implements AggregateFunction<Transaction, Tuple5<Long, Long, Long, Double, Double>, FeatureRow> {
        @Override
        public Tuple5<Long, Long, Long, Double, Double> createAccumulator() {
            return new Tuple5<>(0L, 0L, 0L, 0.0, 0.0);
        }

        @Override
        public Tuple5<Long, Long, Long, Double, Double> add(
                Transaction event, Tuple5<Long, Long, Long, Double, Double> sums) {
            Double amount = event.getAmount();
            if (amount == null) {
                return new Tuple5<>(event.getCcNum(), sums.f1 + 1, sums.f2, sums.f3, sums.f4);
            }
            return new Tuple5<>(
                    event.getCcNum(), sums.f1 + 1, sums.f2 + 1, sums.f3 + amount, sums.f4 + amount * amount);
        }

        @Override
        public FeatureRow getResult(Tuple5<Long, Long, Long, Double, Double> sums) {
            long values = sums.f2;
            Double average = values == 0 ? null : Double.valueOf(sums.f3 / values);
            Double deviation = values < 2
                    ? null
                    : Double.valueOf(Math.sqrt(Math.max(0, sums.f4 - sums.f3 * sums.f3 / values) / (values - 1)));
            return new FeatureRow(sums.f0, sums.f1, average, deviation);
        }

        @Override
        public Tuple5<Long, Long, Long, Double, Double> merge(
                Tuple5<Long, Long, Long, Double, Double> a, Tuple5<Long, Long, Long, Double, Double> b) {
            return new Tuple5<>(b.f0, a.f1 + b.f1, a.f2 + b.f2, a.f3 + b.f3, a.f4 + b.f4);
        }
    }

    static final class ToAvro extends RichMapFunction<FeatureRow, GenericRecord>
            implements ResultTypeQueryable<GenericRecord> {
        private transient Schema schema;

        @Override
        public void open(OpenContext context) {
            schema = new Schema.Parser().parse(FeatureRow.getClassSchema().toString());
        }

        @Override
        public GenericRecord map(FeatureRow row) throws ReflectiveOperationException {
            GenericRecord record = new GenericData.Record(schema);
            for (Schema.Field field : schema.getFields()) {
                Field own = row.getClass().getDeclaredField(field.name());
                own.setAccessible(true);
                record.put(field.name(), own.get(row));
            }
            return record;
        }

        @Override
        public TypeInformation<GenericRecord> getProducedType() {
            return new GenericRecordAvroTypeInfo(FeatureRow.getClassSchema());
        }
    }

    static final class Serializer implements KafkaRecordSerializationSchema<GenericRecord> {
        private final String topic;

        Serializer(String topic) {
            this.topic = topic;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(GenericRecord row, KafkaSinkContext context, Long timestamp) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            BinaryEncoder encoder = new EncoderFactory().binaryEncoder(bytes, null);
            try {
                new ReflectDatumWriter<GenericRecord>(row.getSchema()).write(row, encoder);
                encoder.flush();
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
            return Headers.record(topic, Headers.bytes(row.get("cc_num").toString()), bytes.toByteArray());
        }
    }

    private TutorialJob() {}
}
