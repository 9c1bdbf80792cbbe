package hopsworksflink.join;

import hopsworksflink.format.EventsSchema;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.function.Predicate;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * The last committed records of a topic's partitions. An end of the log tells too little: before it may lie markers of
 * transactions, and what these have aborted; nor do records count that are of another feature group than is read.
 */
final class TopicEnds {
    private static final String PREFIX = "properties.";
    /** Offsets before the end among which a record is looked for; four times as many when there is none. */
    private static final long FEW = 100;

    private TopicEnds() {}

    /**
     * @param options of the topic's table.
     * @return partition to offset; without those that have no such record.
     */
    static Map<Integer, Long> of(Map<String, String> options) {
        String topic = options.get("topic");
        Properties properties = new Properties();
        options.forEach((key, value) -> {
            if (key.startsWith(PREFIX)) {
                properties.setProperty(key.substring(PREFIX.length()), value);
            }
        });
        // It reads beside the job's consumers, and commits nothing.
        properties.remove("group.id");
        properties.setProperty("enable.auto.commit", "false");
        properties.setProperty("allow.auto.create.topics", "false");
        Map<Integer, Long> found = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(topic).forEach(one -> partitions.add(new TopicPartition(topic, one.partition())));
            Map<TopicPartition, Long> begins = consumer.beginningOffsets(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            for (TopicPartition one : partitions) {
                long last = last(consumer, one, begins.get(one), ends.get(one), read(options));
                if (last >= 0) {
                    found.put(one.partition(), last);
                }
            }
        }
        return found;
    }

    /** Which records the table has, by its options. */
    private static Predicate<ConsumerRecord<byte[], byte[]>> read(Map<String, String> options) {
        for (Map.Entry<String, String> option : options.entrySet()) {
            if (option.getKey().endsWith("." + EventsSchema.GROUP_OPTION)) {
                byte[] group = option.getValue().getBytes(StandardCharsets.UTF_8);
                return record -> {
                    Header header = record.headers().lastHeader(EventsSchema.GROUP_HEADER);
                    return header != null && Arrays.equals(group, header.value());
                };
            }
        }
        return record -> true;
    }

    /** Offset of the last such record before an end; below 0 if there is none. */
    private static long last(
            KafkaConsumer<byte[], byte[]> consumer,
            TopicPartition of,
            long begin,
            long end,
            Predicate<ConsumerRecord<byte[], byte[]>> read) {
        consumer.assign(List.of(of));
        long last = -1;
        for (long few = FEW, from = end; last < 0 && from > begin; few *= 4) {
            from = Math.max(begin, end - few);
            consumer.seek(of, from);
            while (consumer.position(of) < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    last = record.offset() < end && read.test(record) ? record.offset() : last;
                }
            }
        }
        return last;
    }
}
