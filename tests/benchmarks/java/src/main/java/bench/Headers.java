package bench;

import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.kafka.clients.producer.ProducerRecord;

/** The record headers that the platform's consumers want. */
final class Headers {
    private static final Map<String, byte[]> VALUES = new LinkedHashMap<>();

    static {
        VALUES.put("projectId", bytes("119"));
        VALUES.put("featureGroupId", bytes("1"));
        VALUES.put("subjectId", bytes("1"));
        VALUES.put("onlineIngestionId", bytes("1"));
    }

    private Headers() {}

    static ProducerRecord<byte[], byte[]> record(String topic, byte[] key, byte[] value) {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, null, null, key, value);
        VALUES.forEach((name, content) -> record.headers().add(name, content));
        return record;
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
