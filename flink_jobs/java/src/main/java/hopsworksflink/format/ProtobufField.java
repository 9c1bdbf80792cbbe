package hopsworksflink.format;

import java.util.HashMap;
import java.util.Map;
import java.util.function.BiConsumer;
import java.util.function.ToIntFunction;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;

/**
 * A field of a message of Protobuf that is read, or of which one may be that excludes it.
 *
 * <p>Out of what pipeline/spec/source/protobuf.py makes of the messages' descriptor, and in its words.
 */
final class ProtobufField {

    /** How a value's bytes are delimited. */
    static final int VARINT = 0;
    static final int FIXED64 = 1;
    static final int SIZED = 2;
    static final int BEGIN = 3;
    static final int END = 4;
    static final int FIXED32 = 5;

    /** What is read of a value: it is a column's, or columns are in it. A message that is a column's is a timestamp. */
    static final class Value {

        /** Index of the column, negative if there is none. */
        int column = -1;
        final Map<Integer, ProtobufField> fields = new HashMap<>();
    }

    /** How often fields that exclude each other stood in the message that is read. */
    static final class Count {

        long message;
        int fields;
    }

    /** Path from the record on, for messages. */
    final String name;
    /** Type in Protobuf's words. */
    final String kind;
    /** How it is written, if it is not packed. */
    final int wireType;
    /** The type of Avro that columns take in the same way. */
    final AvroType written;
    final boolean implicit;
    /** Name of the oneof that it belongs to, if that has other fields. */
    final String oneof;
    final Map<Integer, String> symbols = new HashMap<>();
    /** What is read of it, by what it is: one value, repeated, a map. */
    Value value;
    final Map<Integer, Value> items = new HashMap<>();
    final Map<String, Value> keys = new HashMap<>();
    /** Shared by the fields of a oneof. */
    Count count = new Count();
    /** Messages that had a key of the map. */
    final Map<String, Long> seen = new HashMap<>();

    private ProtobufField(JsonNode written) {
        name = written.get("name").asText();
        kind = written.get("kind").asText();
        oneof = written.path("oneof").asText();
        implicit = written.path("implicit").asBoolean();
        wireType =
                switch (kind) {
                    case "fixed64", "sfixed64", "double" -> FIXED64;
                    case "fixed32", "sfixed32", "float" -> FIXED32;
                    case "string", "bytes", "message" -> SIZED;
                    case "group" -> BEGIN;
                    default -> VARINT;
                };
        this.written =
                AvroType.of(
                        switch (kind) {
                            case "double" -> AvroType.Kind.DOUBLE;
                            case "float" -> AvroType.Kind.FLOAT;
                            case "bool" -> AvroType.Kind.BOOLEAN;
                            case "string", "enum" -> AvroType.Kind.STRING;
                            case "bytes" -> AvroType.Kind.BYTES;
                            default -> AvroType.Kind.LONG;
                        });
    }

    /**
     * What is read of a record.
     *
     * @param columns the index of each column by its name.
     */
    static Value record(JsonNode written, ToIntFunction<String> columns) {
        Value value = new Value();
        if (written.has("column")) {
            value.column = columns.applyAsInt(written.get("column").asText());
        }
        Map<String, Count> oneofs = new HashMap<>();
        each(
                written.path("fields"),
                (number, inner) -> {
                    ProtobufField field = of(inner, columns);
                    if (!field.oneof.isEmpty()) {
                        field.count = oneofs.computeIfAbsent(field.oneof, absent -> field.count);
                    }
                    value.fields.put(Integer.valueOf(number), field);
                });
        return value;
    }

    private static ProtobufField of(JsonNode written, ToIntFunction<String> columns) {
        ProtobufField field = new ProtobufField(written);
        field.value = written.has("value") ? record(written.get("value"), columns) : null;
        each(written.path("symbols"), (number, symbol) -> field.symbols.put(Integer.valueOf(number), symbol.asText()));
        each(written.path("items"), (place, item) -> field.items.put(Integer.valueOf(place), record(item, columns)));
        each(written.path("keys"), (key, inner) -> field.keys.put(key, record(inner, columns)));
        return field;
    }

    private static void each(JsonNode written, BiConsumer<String, JsonNode> take) {
        written.properties().forEach(one -> take.accept(one.getKey(), one.getValue()));
    }

    boolean isWanted() {
        return value != null || !items.isEmpty() || !keys.isEmpty();
    }

    boolean isMessage() {
        return kind.equals("message");
    }

    /** Whether many of its values may stand together, without a tag each. */
    boolean isPackable() {
        return !items.isEmpty() && wireType != SIZED && wireType != BEGIN;
    }
}
