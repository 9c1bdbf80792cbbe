package bench;

import bench.avro.FeatureRow;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads a job's whole output and prints what two right jobs agree on: rows, sums, and a digest of cards and counts. */
public final class Digest {
    public static void main(String[] words) throws Exception {
        Arguments arguments = new Arguments(words);
        Properties properties = new Properties();
        properties.setProperty("bootstrap.servers", arguments.get("--brokers"));
        properties.setProperty("max.poll.records", "10000");
        long rows = 0;
        long events = 0;
        long counts = 0;
        long deviations = 0;
        double amount = 0;
        double deviation = 0;
        SpecificDatumReader<FeatureRow> reader = new SpecificDatumReader<>(FeatureRow.class);
        BinaryDecoder decoder = null;
        FeatureRow row = new FeatureRow();
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(arguments.get("--topic")).stream()
                    .map(one -> new TopicPartition(one.topic(), one.partition()))
                    .collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    decoder = DecoderFactory.get().binaryDecoder(record.value(), decoder);
                    row = reader.read(row, decoder);
                    rows++;
                    events += row.getNumTransPer10m();
                    // A sum: rows may come in any order, but every pair of card and count matters.
                    counts += Fill.mix(row.getCcNum() * 1_000_003 + row.getNumTransPer10m());
                    amount += row.getAvgAmtPer10m() == null ? 0 : row.getAvgAmtPer10m() * row.getNumTransPer10m();
                    if (row.getStdevAmtPer10m() != null) {
                        deviations++;
                        deviation += row.getStdevAmtPer10m();
                    }
                }
            }
        }
        System.out.printf(
                "{\"rows\": %d, \"events\": %d, \"counts\": %d, \"amount\": %.3f, \"deviations\": %d,"
                        + " \"deviation\": %.6f}%n",
                rows, events, counts, amount, deviations, deviation);
    }

    private Digest() {}
}
