package hopsworksflink.format;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;

/**
 * Decodes Avro records by the schema that they were written with, as far as columns lie in them.
 *
 * <p>Rules and sentences are those of pipeline/decoding/written.py.
 */
final class WrittenDecoder {

    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final int DEEPEST = 100;

    private final Column[] columns;
    private final Place places;
    private byte[] bytes;
    private int position;
    private GenericRowData row;

    /** @param enveloped whether the record may be in an envelope, beside its schema. */
    WrittenDecoder(Column[] columns, boolean enveloped) {
        this.columns = columns;
        this.places = Place.tree(columns, enveloped);
    }

    /** @param from where the record begins in the value. */
    boolean decode(byte[] value, int from, AvroType written, GenericRowData into) throws Undecodable {
        bytes = value;
        position = from;
        row = into;
        read(written, places, "", 0);
        if (left() > 0) {
            throw new Undecodable(bytesAre(left()) + " left after the record");
        }
        return true;
    }

    private int left() {
        return bytes.length - position;
    }

    private static String bytesAre(int count) {
        return count == 1 ? "1 byte is" : count + " bytes are";
    }

    /** Reads a value, which lies at a place; null: nothing of it is wanted. */
    private void read(AvroType written, Place place, String where, int depth) throws Undecodable {
        if (depth > DEEPEST) {
            throw new Undecodable("field " + where + " is nested more than " + DEEPEST + " levels deep");
        }
        switch (written.kind) {
            case UNION -> {
                long index = number(where);
                if (index < 0 || index >= written.inner.length) {
                    throw new Undecodable(
                            "field " + where + ": its union index reads as " + index + ", and there are "
                                    + written.inner.length + " branches");
                }
                read(written.inner[(int) index], place, where, depth + 1);
            }
            case NULL -> {}
            default -> {
                if (place != null && place.column >= 0) {
                    row.setField(place.column, column(written, columns[place.column], where));
                    return;
                }
                boolean array = written.kind == AvroType.Kind.ARRAY;
                boolean object = written.kind == AvroType.Kind.RECORD || written.kind == AvroType.Kind.MAP;
                if (!array && !object) {
                    raw(written, where, true);
                }
                if (place != null && (place.isObject() && !object || place.isArray() && !array)) {
                    String wanted = place.isObject() ? "an object" : "an array";
                    throw new Undecodable("field " + where + " is written as " + written + ", not as " + wanted);
                }
                if (written.kind == AvroType.Kind.RECORD) {
                    for (int index = 0; index < written.inner.length; index++) {
                        String name = written.names[index];
                        read(written.inner[index], place == null ? null : place.field(name), name, depth + 1);
                    }
                } else if (array || object) {
                    items(written, place, where, depth);
                }
            }
        }
    }

    private void items(AvroType written, Place place, String where, int depth) throws Undecodable {
        int index = 0;
        for (long count = number(where); count != 0; count = number(where)) {
            if (count < 0) {
                count = -count;
                number(where);
            }
            if (count < 0 || count > left()) {
                String read = count < 0 ? "9223372036854775808" : String.valueOf(count);
                throw new Undecodable("field " + where + ": it reads as " + read + " items, and " + bytesAre(left()) + " left");
            }
            for (long item = 0; item < count; item++, index++) {
                Place inner = null;
                if (written.kind == AvroType.Kind.MAP) {
                    String name = text(where);
                    inner = place == null ? null : place.field(name);
                } else if (place != null) {
                    inner = place.item(index);
                }
                read(written.inner[0], inner, where, depth + 1);
            }
        }
    }

    private Object column(AvroType written, Column column, String where) throws Undecodable {
        String what = "column " + column.name() + " is " + column.type();
        if (!written.holds(column)) {
            throw new Undecodable(what + " and is written as " + written);
        }
        Object found = raw(written, where, false);
        Object held = held(found, written, column);
        if (held == null) {
            throw new Undecodable(what + " and holds " + shown(found));
        }
        return held;
    }

    /** A value as it is written: Boolean, Long, Float, Double, byte[] or String; null if it is skipped. */
    private Object raw(AvroType written, String where, boolean skip) throws Undecodable {
        switch (written.kind) {
            case BOOLEAN:
                int one = bytes[take(1, where)] & 0xff;
                if (one > 1) {
                    throw new Undecodable("field " + where + ": its boolean reads as " + one + ", not 0 or 1");
                }
                return one == 1;
            case INT, LONG:
                return number(where);
            case FLOAT:
                return Float.intBitsToFloat((int) INT.get(bytes, take(4, where)));
            case DOUBLE:
                return Double.longBitsToDouble((long) LONG.get(bytes, take(8, where)));
            case ENUM:
                long index = number(where);
                if (index < 0 || index >= written.names.length) {
                    throw new Undecodable(
                            "field " + where + ": its symbol reads as " + index + ", and there are "
                                    + written.names.length + " symbols");
                }
                return written.names[(int) index];
            case FIXED:
                int from = take(written.size, where);
                return skip ? null : Arrays.copyOfRange(bytes, from, position);
            case STRING:
                if (!skip) {
                    return text(where);
                }
                sized(where);
                return null;
            default:
                int begin = sized(where);
                return skip ? null : Arrays.copyOfRange(bytes, begin, position);
        }
    }

    private String text(String where) throws Undecodable {
        int begin = sized(where);
        if (!Utf8.isValid(bytes, begin, position)) {
            throw new Undecodable("field " + where + " is no UTF-8 text");
        }
        return new String(bytes, begin, position - begin, StandardCharsets.UTF_8);
    }

    /** Where bytes begin that follow their length; they end at the position. */
    private int sized(String where) throws Undecodable {
        long length = number(where);
        if (length < 0 || length > left()) {
            throw new Undecodable(
                    "field " + where + ": its length reads as " + length + ", and " + bytesAre(left()) + " left");
        }
        return take((int) length, where);
    }

    /** A number of variable length, as short as it can be. */
    private long number(String where) throws Undecodable {
        long zigzag = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = bytes[take(1, where)];
            if (shift == 63 && (next & 0xfe) != 0 || next == 0 && shift > 0) {
                throw new Undecodable("field " + where + ": its bytes are no number of Avro");
            }
            zigzag |= (next & 0x7fL) << shift;
            if (next >= 0) {
                return (zigzag >>> 1) ^ -(zigzag & 1);
            }
        }
    }

    /** Goes on by so many bytes, and says where they begin. */
    private int take(int count, String where) throws Undecodable {
        if (left() < count) {
            throw new Undecodable("the record ends in field " + where);
        }
        position += count;
        return position - count;
    }

    /** A value, written as a type of Avro, as the column's; null if it cannot hold it. */
    static Object held(Object found, AvroType written, Column column) {
        if (found instanceof String text) {
            if (column.kind() == Column.Kind.STRING) {
                return StringData.fromString(text);
            }
            boolean number = column.kind() == Column.Kind.DECIMAL;
            return !number ? Texts.read(text, column) : JsonDecoder.isNumber(text) ? Texts.decimal(text, column) : null;
        }
        if (found instanceof byte[] bytes) {
            if (column.kind() == Column.Kind.BINARY) {
                return bytes;
            }
            return bytes.length == 0 ? null : column.decimal(new BigDecimal(new BigInteger(bytes), written.scale));
        }
        if (found instanceof Long number) {
            return number(number, written, column);
        }
        if (found instanceof BigInteger number) {
            return beyond(number, column);
        }
        if (found instanceof Float || found instanceof Double) {
            double number = ((Number) found).doubleValue();
            if (column.kind() == Column.Kind.DOUBLE) {
                return number;
            }
            return (float) number == number || Double.isNaN(number) ? (Object) (float) number : null;
        }
        return found;
    }

    private static Object number(long number, AvroType written, Column column) {
        return switch (column.kind()) {
            case TIMESTAMP -> switch (written.logical) {
                case "timestamp-millis" -> new Times(null, "", null, 1_000).held(number, column);
                case "timestamp-micros" -> column.integer(number);
                case "timestamp-nanos" -> column.integer(Math.floorDiv(number, 1000L));
                default -> column.times().held(number, column);
            };
            case DECIMAL -> column.decimal(BigDecimal.valueOf(number));
            // Some of the largest lie between two of them.
            case DOUBLE -> (long) (double) number == number && number != Long.MAX_VALUE ? (Object) (double) number : null;
            case FLOAT -> (long) (float) number == number && number != Long.MAX_VALUE ? (Object) (float) number : null;
            default -> column.integer(number);
        };
    }

    /** A whole number beyond those of 64 bits with a sign. */
    private static Object beyond(BigInteger number, Column column) {
        return switch (column.kind()) {
            case DECIMAL -> column.decimal(new BigDecimal(number));
            case DOUBLE -> {
                double nearest = number.doubleValue();
                yield new BigDecimal(nearest).compareTo(new BigDecimal(number)) == 0 ? (Object) nearest : null;
            }
            case FLOAT -> {
                float nearest = number.floatValue();
                yield new BigDecimal(nearest).compareTo(new BigDecimal(number)) == 0 ? (Object) nearest : null;
            }
            default -> null;
        };
    }

    /** A value that a column cannot hold, for messages. */
    static String shown(Object found) {
        if (found instanceof String text) {
            return '"' + Texts.excerpt(text) + '"';
        }
        if (found instanceof byte[] bytes) {
            return bytes.length == 0 ? "no bytes" : "more digits";
        }
        return found instanceof Long || found instanceof BigInteger ? found.toString() : "a number between two of them";
    }
}
