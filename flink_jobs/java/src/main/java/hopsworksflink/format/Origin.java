package hopsworksflink.format;

import java.lang.reflect.Field;
import java.util.Arrays;
import java.util.List;
import org.apache.flink.util.Collector;

/**
 * The record that a value came in: a format is not told, but the Kafka connector's collector holds it.
 *
 * <p>By reflection, as the connector has Kafka's classes under a name of its own.
 */
final class Origin {

    private Class<?> known;
    private Field held;

    /** Where it lies, as reasons begin; empty if another connector reads it. */
    String place(Collector<?> out) {
        try {
            Object record = record(out);
            StringBuilder text = new StringBuilder();
            for (String part : List.of("topic", "partition", "offset")) {
                Object found = record.getClass().getMethod(part).invoke(record);
                text.append(text.length() == 0 ? "" : ", ").append(part).append(' ').append(found);
            }
            return text + ": ";
        } catch (ReflectiveOperationException | RuntimeException otherwise) {
            return ""; // the reason alone has to do
        }
    }

    /** The last header of a name; null if it has none. */
    byte[] header(Collector<?> out, String name) {
        try {
            Object record = record(out);
            Object headers = record.getClass().getMethod("headers").invoke(record);
            Object header = headers.getClass().getMethod("lastHeader", String.class).invoke(headers, name);
            return header == null ? null : (byte[]) header.getClass().getMethod("value").invoke(header);
        } catch (ReflectiveOperationException failure) {
            throw new IllegalStateException("The headers of a record cannot be read.", failure);
        }
    }

    private Object record(Collector<?> out) throws ReflectiveOperationException {
        if (known != out.getClass()) {
            known = out.getClass();
            held = Arrays.stream(known.getDeclaredFields())
                    .filter(field -> field.getType().getSimpleName().equals("ConsumerRecord"))
                    .findFirst()
                    .orElse(null);
            if (held != null) {
                held.setAccessible(true);
            }
        }
        if (held == null) {
            throw new IllegalStateException("No record of Kafka lies behind " + known.getName() + ".");
        }
        return held.get(out);
    }
}
