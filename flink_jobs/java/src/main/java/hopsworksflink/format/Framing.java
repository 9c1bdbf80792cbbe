package hopsworksflink.format;

import java.io.Serializable;
import java.util.Arrays;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * What says how a record of Avro or Protobuf was written: nothing, a schema or message of the table's options, or a schema
 * of a registry, whose id then stands in front of the record.
 *
 * @param isFramed whether a zero byte and the id of a schema stand there.
 * @param ids those that are right, empty: any.
 * @param schema that records were written with; null: another thing says it.
 * @param registry that has the schemas; null: there is none.
 * @param message JSON: what is read of messages of Protobuf; null: records are Avro's.
 */
public record Framing(boolean isFramed, Set<Long> ids, String schema, Registry registry, String message) implements Serializable {

    static final int SIZE = 5;

    /** The decoder of such records. */
    Decoder decoder(Column[] columns, int required, boolean enveloped) {
        if (message != null) {
            ProtobufDecoder protobuf = new ProtobufDecoder(columns, message);
            return isFramed
                    ? (value, row) -> {
                        id(value);
                        return protobuf.decode(value, SIZE, true, row);
                    }
                    : (value, row) -> protobuf.decode(value, 0, false, row);
        }
        AvroDecoder plain = new AvroDecoder(columns, required);
        WrittenDecoder written = new WrittenDecoder(columns, enveloped);
        AvroType fixed = schema == null ? null : AvroType.parse(schema);
        if (!isFramed) {
            return fixed == null ? plain : (value, row) -> written.decode(value, 0, fixed, row);
        }
        return (value, row) -> {
            long id = id(value);
            AvroType type = registry == null ? fixed : registry.get(id);
            if (type == null) {
                return plain.decode(Arrays.copyOfRange(value, SIZE, value.length), row);
            }
            return written.decode(value, SIZE, type, row);
        };
    }

    private long id(byte[] value) throws Undecodable {
        if (value.length < SIZE || value[0] != 0) {
            throw new Undecodable(
                    "it does not begin with the framing of a schema registry, a zero byte and the schema's id");
        }
        long id = 0;
        for (int index = 1; index < SIZE; index++) {
            id = id << 8 | value[index] & 0xff;
        }
        if (!ids.isEmpty() && !ids.contains(id)) {
            String known = ids.stream().sorted().map(String::valueOf).collect(Collectors.joining(", "));
            throw new Undecodable(
                    "it was written with schema " + id + " of the registry, and source.schema_ids has " + known);
        }
        return id;
    }
}
