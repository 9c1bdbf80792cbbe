package bench;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;

/** Command line of a job, and what all jobs have in common: where they read, write, and how late an event may be. */
final class Arguments {
    static final Duration SIZE = Duration.ofMinutes(10);
    static final Duration SLIDE = Duration.ofMinutes(1);
    private static final Duration DISORDER = Duration.ofSeconds(5);
    private static final Duration IDLE = Duration.ofSeconds(30);

    private final Map<String, String> values = new HashMap<>();

    Arguments(String[] words) {
        for (int i = 0; i + 1 < words.length; i += 2) {
            values.put(words[i], words[i + 1]);
        }
    }

    String get(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("missing argument " + name);
        }
        return value;
    }

    String get(String name, String otherwise) {
        return values.getOrDefault(name, otherwise);
    }

    long number(String name) {
        return Long.parseLong(get(name));
    }

    /** The topic from its first record to the one that is last now. */
    <T> KafkaSource<T> source(KafkaRecordDeserializationSchema<T> deserializer) {
        return KafkaSource.<T>builder()
                .setBootstrapServers(get("--brokers"))
                .setTopics(get("--topic"))
                .setGroupId("benchmark")
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setBounded(OffsetsInitializer.latest())
                .setDeserializer(deserializer)
                .build();
    }

    static <T> WatermarkStrategy<T> watermarks() {
        return WatermarkStrategy.<T>forBoundedOutOfOrderness(DISORDER).withIdleness(IDLE);
    }

    /** Sink with the producer settings of the compiled pipeline, or with Kafka's own. */
    <T> KafkaSink<T> sink(KafkaRecordSerializationSchema<T> serializer, boolean tuned) {
        Properties producer = new Properties();
        if (tuned) {
            producer.setProperty("linger.ms", "50");
            producer.setProperty("batch.size", "262144");
        }
        return KafkaSink.<T>builder()
                .setBootstrapServers(get("--brokers"))
                .setKafkaProducerConfig(producer)
                .setRecordSerializer(serializer)
                .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
                .build();
    }
}
