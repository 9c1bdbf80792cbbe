package hopsworksflink.format;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.math.BigInteger;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.data.GenericRowData;

/**
 * Decodes messages of Protobuf, as far as columns lie in them.
 *
 * <p>Rules and sentences are those of pipeline/decoding/protobuf.py.
 */
final class ProtobufDecoder {

    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final int DEEPEST = 100;
    private static final long LARGEST_NUMBER = (1 << 29) - 1;
    private static final String FRAMING =
            "; a zero byte in front is the framing of a schema registry (framing: confluent)";

    private final Column[] columns;
    private final ProtobufField.Value record;
    private final List<Long> indexes = new ArrayList<>();
    private byte[] bytes;
    private int position;
    private int end;
    private GenericRowData row;
    /** Of messages that were begun: what fields are compared with that may stand in one of them once. */
    private long messages;

    /** @param message JSON: what of a message is read. */
    ProtobufDecoder(Column[] columns, String message) {
        this.columns = columns;
        List<String> names = Arrays.stream(columns).map(Column::name).toList();
        try {
            JsonNode written = new ObjectMapper().readTree(message);
            written.path("indexes").forEach(index -> indexes.add(index.asLong()));
            record = ProtobufField.record(written, names::indexOf);
        } catch (JsonProcessingException broken) {
            throw new IllegalArgumentException("The option message is no JSON.", broken);
        }
    }

    /**
     * @param from where the message begins in the value, or with framing what says which one it is.
     * @param indexed whether there is framing.
     */
    boolean decode(byte[] value, int from, boolean indexed, GenericRowData into) throws Undecodable {
        bytes = value;
        position = from;
        end = value.length;
        row = into;
        if (indexed) {
            expectIndexes();
        }
        try {
            read(record, value.length, 0);
        } catch (Undecodable problem) {
            if (!indexed && JsonDecoder.looksLikeJson(value)) {
                throw new Undecodable(problem.getMessage() + "; it looks like JSON");
            }
            throw problem;
        }
        return true;
    }

    private void expectIndexes() throws Undecodable {
        String where = "the message indexes";
        long count = zigzag(where, "");
        if (count < 0 || count > end - position) {
            throw new Undecodable(where + ": there are " + count + " of them, and " + bytesAre(end - position) + " left");
        }
        List<Long> found = new ArrayList<>();
        for (long index = 0; index < count; index++) {
            found.add(zigzag(where, ""));
        }
        // The first message of a file is written shorter.
        if (found.isEmpty()) {
            found.add(0L);
        }
        if (!found.equals(indexes)) {
            throw new Undecodable(
                    "it is the message with the indexes " + found + " of its schema, and source.message has " + indexes);
        }
    }

    private static String bytesAre(int count) {
        return count == 1 ? "1 byte is" : count + " bytes are";
    }

    /**
     * Reads a message.
     *
     * @param until where it ends at the latest.
     * @param group number of the field that it is a group of, which then ends it; 0: it is none.
     */
    private void read(ProtobufField.Value inside, int until, int group) throws Undecodable {
        int outer = end;
        end = until;
        long message = ++messages;
        while (group > 0 || position < until) {
            long tag = tag(group);
            int number = (int) (tag >>> 3);
            int wire = (int) (tag & 7);
            if (wire == ProtobufField.END) {
                break;
            }
            ProtobufField field = inside.fields.get(number);
            if (field == null) {
                skip(number, wire, 0);
                continue;
            }
            ProtobufField.Count count = field.count;
            if (count.message != message) {
                count.message = message;
                count.fields = 0;
            } else if (field.value != null || !field.oneof.isEmpty()) {
                String what = field.oneof.isEmpty() ? "field " + field.name : "oneof " + field.oneof;
                throw new Undecodable(what + " stands in it twice");
            }
            count.fields += field(field, number, wire, message);
        }
        for (ProtobufField field : inside.fields.values()) {
            if (field.implicit && field.value != null && field.count.message != message) {
                takeDefault(field, field.value);
            }
        }
        end = outer;
    }

    /** Reads a field. The number of those that it is. */
    private int field(ProtobufField field, int number, int wire, long message) throws Undecodable {
        if (!field.isWanted()) {
            skip(number, wire, 0);
            return 1;
        }
        if (wire == ProtobufField.SIZED && field.isPackable()) {
            int until = sized(field.name);
            int outer = end;
            int many = 0;
            for (end = until; position < until; many++) {
                one(field, field.items.get(field.count.fields + many), number);
            }
            end = outer;
            return many;
        }
        if (!field.keys.isEmpty()) {
            expect(field, wire, ProtobufField.SIZED);
            entry(field, message);
            return 1;
        }
        expect(field, wire, field.wireType);
        one(field, field.value != null ? field.value : field.items.get(field.count.fields), number);
        return 1;
    }

    private static void expect(ProtobufField field, int wire, int wanted) throws Undecodable {
        if (wire != wanted) {
            throw new Undecodable(
                    "field " + field.name + " is " + field.kind + ", and is written with the wire type " + wire);
        }
    }

    /** Reads a value; null: nothing of it is wanted. */
    private void one(ProtobufField field, ProtobufField.Value value, int number) throws Undecodable {
        if (value == null) {
            skip(number, field.wireType, 0);
        } else if (field.wireType == ProtobufField.BEGIN) {
            read(value, end, number);
        } else if (field.isMessage()) {
            message(field, value, sized(field.name));
        } else {
            take(field, value, raw(field.kind, field.name));
        }
    }

    private void message(ProtobufField field, ProtobufField.Value value, int until) throws Undecodable {
        if (value.column >= 0) {
            moment(field, value, until);
        } else {
            read(value, until, 0);
        }
    }

    /** Reads an entry of a map: its key may stand behind its value. */
    private void entry(ProtobufField field, long message) throws Undecodable {
        int until = sized(field.name);
        int outer = end;
        end = until;
        String key = "";
        int begin = -1;
        while (position < until) {
            long tag = tag(0);
            int number = (int) (tag >>> 3);
            int wire = (int) (tag & 7);
            if (number == 1 && wire == ProtobufField.SIZED) {
                key = text(field.name);
                continue;
            }
            if (number == 2) {
                expect(field, wire, field.wireType);
                begin = position;
            }
            skip(number, wire, 0);
        }
        ProtobufField.Value value = field.keys.get(key);
        if (value != null) {
            Long before = field.seen.put(key, message);
            if (before != null && before == message) {
                throw new Undecodable("field " + field.name + " has one of its keys twice");
            }
            if (begin >= 0) {
                position = begin;
                one(field, value, 2);
            } else if (field.isMessage()) {
                message(field, value, until);
            } else {
                takeDefault(field, value);
            }
        }
        position = until;
        end = outer;
    }

    private void moment(ProtobufField field, ProtobufField.Value value, int until) throws Undecodable {
        long[] found = new long[3];
        boolean[] seen = new boolean[3];
        int outer = end;
        end = until;
        while (position < until) {
            long tag = tag(0);
            int number = (int) (tag >>> 3);
            int wire = (int) (tag & 7);
            if (number > 2) {
                skip(number, wire, 0);
                continue;
            }
            if (seen[number]) {
                throw new Undecodable("field " + field.name + " has one of its parts twice");
            }
            seen[number] = true;
            String kind = number == 1 ? "int64" : "int32";
            String name = field.name + (number == 1 ? ".seconds" : ".nanos");
            if (wire != ProtobufField.VARINT) {
                throw new Undecodable("field " + name + " is " + kind + ", and is written with the wire type " + wire);
            }
            found[number] = (Long) raw(kind, name);
        }
        end = outer;
        long seconds = found[1];
        long nanos = found[2];
        long most = Long.MAX_VALUE / 1_000_000 - 1;
        Object held =
                nanos < 0 || nanos > 999_999_999 || seconds < -most || seconds > most
                        ? null
                        : columns[value.column].integer(seconds * 1_000_000 + nanos / 1000);
        if (held == null) {
            throw new Undecodable(
                    "column " + columns[value.column].name() + " is timestamp and holds " + seconds + " seconds and "
                            + nanos + " nanoseconds");
        }
        row.setField(value.column, held);
    }

    private void takeDefault(ProtobufField field, ProtobufField.Value value) throws Undecodable {
        take(
                field,
                value,
                switch (field.kind) {
                    case "double" -> (Object) 0.0;
                    case "float" -> 0f;
                    case "bool" -> false;
                    case "string" -> "";
                    case "bytes" -> new byte[0];
                    default -> 0L;
                });
    }

    private void take(ProtobufField field, ProtobufField.Value value, Object found) throws Undecodable {
        Column column = columns[value.column];
        Object taken = found;
        if (field.kind.equals("enum")) {
            taken = field.symbols.get((int) (long) (Long) found);
            if (taken == null) {
                throw new Undecodable("field " + field.name + ": its enum has no symbol " + found);
            }
        }
        Object held = WrittenDecoder.held(taken, field.written, column);
        if (held == null) {
            throw new Undecodable(
                    "column " + column.name() + " is " + column.type() + " and holds " + WrittenDecoder.shown(taken));
        }
        row.setField(value.column, held);
    }

    /** A value that is no message, as it is written: Boolean, Long, BigInteger, Float, Double, byte[] or String. */
    private Object raw(String kind, String name) throws Undecodable {
        switch (kind) {
            case "float":
                return Float.intBitsToFloat((int) INT.get(bytes, take(4, name)));
            case "double":
                return Double.longBitsToDouble((long) LONG.get(bytes, take(8, name)));
            case "fixed32":
                return Integer.toUnsignedLong((int) INT.get(bytes, take(4, name)));
            case "sfixed32":
                return (long) (int) INT.get(bytes, take(4, name));
            case "fixed64":
                return unsigned((long) LONG.get(bytes, take(8, name)));
            case "sfixed64":
                return (long) LONG.get(bytes, take(8, name));
            case "string":
                return text(name);
            case "bytes":
                int begin = begin(name);
                return Arrays.copyOfRange(bytes, begin, position);
            case "bool":
                long one = varint("field ", name);
                if (one != 0 && one != 1) {
                    throw new Undecodable(
                            "field " + name + ": its bool reads as " + Long.toUnsignedString(one) + ", not false or true");
                }
                return one == 1;
            case "sint64":
                return zigzag("field ", name);
            case "sint32":
                return within(zigzag("field ", name), Integer.MIN_VALUE, Integer.MAX_VALUE, kind, name);
            case "uint64":
                return unsigned(varint("field ", name));
            case "uint32":
                return within(varint("field ", name), 0, 0xffffffffL, kind, name);
            case "int64":
                return varint("field ", name);
            default:
                return within(varint("field ", name), Integer.MIN_VALUE, Integer.MAX_VALUE, kind, name);
        }
    }

    private static Object unsigned(long number) {
        return number >= 0 ? (Object) number : new BigInteger(Long.toUnsignedString(number));
    }

    private static Object within(long number, long least, long most, String kind, String name) throws Undecodable {
        if (number < least || number > most) {
            String shown = kind.equals("uint32") ? Long.toUnsignedString(number) : String.valueOf(number);
            throw new Undecodable("field " + name + " is " + kind + " and reads as " + shown);
        }
        return number;
    }

    private void skip(int number, int wire, int depth) throws Undecodable {
        switch (wire) {
            case ProtobufField.VARINT -> varint("field ", number);
            case ProtobufField.FIXED32 -> need(4, "field ", number);
            case ProtobufField.FIXED64 -> need(8, "field ", number);
            case ProtobufField.SIZED -> position = sized(number);
            default -> {
                if (depth == DEEPEST) {
                    throw new Undecodable("field " + number + " is nested more than " + DEEPEST + " levels deep");
                }
                for (long tag = tag(number); (tag & 7) != ProtobufField.END; tag = tag(number)) {
                    skip((int) (tag >>> 3), (int) (tag & 7), depth + 1);
                }
            }
        }
    }

    /**
     * Number and wire type of the field that begins here, as they are written.
     *
     * @param group the only one that may end here.
     */
    private long tag(int group) throws Undecodable {
        boolean first = position == 0;
        long tag = varint("the number of a field", "");
        long number = tag >>> 3;
        int wire = (int) (tag & 7);
        if (number == 0 || number > LARGEST_NUMBER) {
            String hint = first && number == 0 ? FRAMING : "";
            throw new Undecodable("it has a field " + number + ", which no message has" + hint);
        }
        if (wire > ProtobufField.FIXED32) {
            throw new Undecodable("field " + number + " has the wire type " + wire + ", which does not exist");
        }
        if (wire == ProtobufField.END && number != group) {
            throw new Undecodable("field " + number + " ends a group that did not begin");
        }
        return tag;
    }

    private String text(String name) throws Undecodable {
        int begin = begin(name);
        if (!Utf8.isValid(bytes, begin, position)) {
            throw new Undecodable("field " + name + " is no UTF-8 text");
        }
        return new String(bytes, begin, position - begin, StandardCharsets.UTF_8);
    }

    /** Where bytes begin that follow their length; they end at the position. */
    private int begin(String name) throws Undecodable {
        int until = sized(name);
        int begin = position;
        position = until;
        return begin;
    }

    /** Where that ends which begins with its length here. */
    private int sized(Object field) throws Undecodable {
        long length = varint("field ", field);
        int left = end - position;
        if (length < 0 || length > left) {
            throw new Undecodable(
                    "field " + field + ": its length reads as " + Long.toUnsignedString(length) + ", and "
                            + bytesAre(left) + " left");
        }
        return position + (int) length;
    }

    private long zigzag(String where, Object of) throws Undecodable {
        long number = varint(where, of);
        return (number >>> 1) ^ -(number & 1);
    }

    /**
     * A number of variable length, without its sign. Some writers make it longer than need be.
     *
     * @param of stands behind {@code where} in messages: no text is made of the two without need.
     */
    private long varint(String where, Object of) throws Undecodable {
        long number = 0;
        for (int shift = 0; ; shift += 7) {
            need(1, where, of);
            byte next = bytes[position - 1];
            if (shift == 63 && (next & 0xfe) != 0) {
                throw new Undecodable(where + of + ": its bytes are no number of Protobuf");
            }
            number |= (next & 0x7fL) << shift;
            if (next >= 0) {
                return number;
            }
        }
    }

    private int take(int count, String name) throws Undecodable {
        need(count, "field ", name);
        return position - count;
    }

    /** Goes on by so many bytes. */
    private void need(int count, String where, Object of) throws Undecodable {
        if (end - position < count) {
            throw new Undecodable("it ends in " + where + of);
        }
        position += count;
    }
}
