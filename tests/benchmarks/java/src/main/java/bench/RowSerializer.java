package bench;

import bench.avro.FeatureRow;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.specific.SpecificDatumWriter;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Feature rows as the platform reads them; writer, encoder and buffer are made once. */
final class RowSerializer implements KafkaRecordSerializationSchema<FeatureRow> {
    private final String topic;
    private transient SpecificDatumWriter<FeatureRow> writer;
    private transient ByteArrayOutputStream bytes;
    private transient BinaryEncoder encoder;

    RowSerializer(String topic) {
        this.topic = topic;
    }

    @Override
    public void open(SerializationSchema.InitializationContext context, KafkaSinkContext sinkContext) {
        writer = new SpecificDatumWriter<>(FeatureRow.class);
        bytes = new ByteArrayOutputStream();
        encoder = EncoderFactory.get().directBinaryEncoder(bytes, null);
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(FeatureRow row, KafkaSinkContext context, Long timestamp) {
        bytes.reset();
        try {
            writer.write(row, encoder);
            encoder.flush();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
        return Headers.record(topic, Headers.bytes(Long.toString(row.getCcNum())), bytes.toByteArray());
    }
}
