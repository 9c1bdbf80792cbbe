package hopsworksflink.format;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.math.BigInteger;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;

/**
 * Decodes Avro records whose fields are the columns, each a union of null and its type, straight into rows.
 *
 * <p>Avro's bytes carry no names or types: with another schema most bytes read as something. So a record counts only if
 * its bytes are exactly what a writer with this schema makes, or with an older one that lacked some of the last columns
 * and said so: such a record ends where the first of them would begin, and a newer one has a byte more for each. The judge of the search for such records
 * (pipeline/decoding.py) has the same rules and sentences; tests hold both against each other.
 */
final class AvroDecoder implements Decoder {

    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final int FRAMING = 5;
    private static final String NULLABLE = "columns must be nullable unions [\"null\", T]";

    /** How a field is written: the bytes of its union's index for null and for a value. */
    private enum Fields {
        NULL_FIRST(0, 2),
        NULL_LAST(2, 0),
        PLAIN(-1, -1);

        private final int forNull;
        private final int forValue;

        Fields(int forNull, int forValue) {
            this.forNull = forNull;
            this.forValue = forValue;
        }
    }

    private final Column[] columns;
    private final int required;
    private byte[] bytes;
    private int position;

    /** @param required a record may end behind so many of the columns; those that it lacks are null. */
    AvroDecoder(Column[] columns, int required) {
        this.columns = columns;
        this.required = required;
    }

    @Override
    public boolean decode(byte[] value, GenericRowData row) throws Undecodable {
        if (value.length == 0) {
            throw new Undecodable("the value is empty");
        }
        try {
            read(value, 0, row, Fields.NULL_FIRST);
        } catch (Undecodable problem) {
            throw new Undecodable(problem.getMessage() + "; " + cause(value, false));
        }
        int left = value.length - position;
        if (left > 0) {
            String bytesAre = left == 1 ? " byte is" : " bytes are";
            throw new Undecodable(left + bytesAre + " left after the record; " + cause(value, true));
        }
        return true;
    }

    private void read(byte[] value, int from, GenericRowData row, Fields fields) throws Undecodable {
        bytes = value;
        position = from;
        int forNull = fields.forNull;
        int forValue = fields.forValue;
        for (int index = 0; index < columns.length; index++) {
            if (index >= required && position == bytes.length) {
                return;
            }
            Column column = columns[index];
            if (forNull >= 0) {
                need(1, column);
                int union = value[position];
                if (union == forNull) {
                    position++;
                    continue;
                }
                if (union != forValue) {
                    throw new Undecodable(
                            "column " + column.name() + ": its union index reads as " + number(column)
                                    + ", not 0 (null) or 1 (" + column.type() + ")");
                }
                position++;
            }
            row.setField(index, read(column));
        }
    }

    private Object read(Column column) throws Undecodable {
        switch (column.kind()) {
            case BOOLEAN:
                need(1, column);
                byte written = bytes[position++];
                if ((written & 0xfe) != 0) {
                    throw new Undecodable(
                            "column " + column.name() + ": its boolean reads as " + (written & 0xff) + ", not 0 or 1");
                }
                return written == 1;
            case BIGINT:
                return number(column);
            case TIMESTAMP:
                if (column.times().isText()) {
                    return readBytes(column);
                }
                long time = number(column);
                return held(column, column.times().held(time, column), time);
            case TINYINT, SMALLINT, INT, DATE:
                long number = number(column);
                return held(column, column.integer(number), number);
            case FLOAT:
                need(4, column);
                position += 4;
                return Float.intBitsToFloat((int) INT.get(bytes, position - 4));
            case DOUBLE:
                need(8, column);
                position += 8;
                return Double.longBitsToDouble((long) LONG.get(bytes, position - 8));
            default:
                return readBytes(column);
        }
    }

    private static Object held(Column column, Object held, Object written) throws Undecodable {
        if (held == null) {
            throw new Undecodable("column " + column.name() + " is " + column.type() + " and holds " + written);
        }
        return held;
    }

    private Object readBytes(Column column) throws Undecodable {
        long written = number(column);
        int left = bytes.length - position;
        if (written < 0 || written > left) {
            throw new Undecodable(
                    "column " + column.name() + ": its length reads as " + written + ", and " + left
                            + (left == 1 ? " byte is" : " bytes are") + " left");
        }
        int from = position;
        int length = (int) written;
        position += length;
        switch (column.kind()) {
            case STRING, TIMESTAMP:
                if (!Utf8.isValid(bytes, from, position)) {
                    throw new Undecodable("column " + column.name() + " is no UTF-8 text");
                }
                if (column.kind() == Column.Kind.STRING) {
                    return StringData.fromBytes(bytes, from, length);
                }
                String text = new String(bytes, from, length, StandardCharsets.UTF_8);
                return held(column, Texts.read(text, column), '"' + Texts.excerpt(text) + '"');
            case BINARY:
                return java.util.Arrays.copyOfRange(bytes, from, position);
            default:
                Object held = length == 0 ? null : column.decimal(new BigInteger(bytes, from, length));
                if (held == null) {
                    String what = length == 0 ? " and has no bytes" : " and holds more digits";
                    throw new Undecodable("column " + column.name() + " is " + column.type() + what);
                }
                return held;
        }
    }

    /** A number of variable length, as short as it can be. */
    private long number(Column column) throws Undecodable {
        long zigzag = 0;
        for (int shift = 0; ; shift += 7) {
            need(1, column);
            byte next = bytes[position++];
            if (shift == 63 && (next & 0xfe) != 0 || next == 0 && shift > 0) {
                throw new Undecodable("column " + column.name() + ": its bytes are no number of Avro");
            }
            zigzag |= (next & 0x7fL) << shift;
            if (next >= 0) {
                return (zigzag >>> 1) ^ -(zigzag & 1);
            }
        }
    }

    private void need(int count, Column column) throws Undecodable {
        if (bytes.length - position < count) {
            throw new Undecodable("the record ends in column " + column.name());
        }
    }

    /** Why a value is probably no record, in plain words. */
    private String cause(byte[] value, boolean longer) {
        if (value[0] == 0
                && value.length > FRAMING
                && (reads(value, FRAMING, Fields.NULL_FIRST, !longer)
                        || reads(value, FRAMING, Fields.NULL_LAST, false)
                        || reads(value, FRAMING, Fields.PLAIN, false))) {
            long id = Integer.toUnsignedLong(Integer.reverseBytes((int) INT.get(value, 1)));
            return "it begins with the framing of a schema registry (id " + id + "), which is no part of an Avro record";
        }
        if (longer) {
            return "the producer's schema is longer";
        }
        if (reads(value, 0, Fields.PLAIN, false)) {
            return NULLABLE + ": the first field reads as a plain " + columns[0].type();
        }
        if (reads(value, 0, Fields.NULL_LAST, false)) {
            return NULLABLE + ": here null stands last";
        }
        if (JsonDecoder.looksLikeJson(value)) {
            return "it looks like JSON";
        }
        return "it was written with another schema: " + NULLABLE + " in the order of the pipeline's schema";
    }

    private boolean reads(byte[] value, int from, Fields fields, boolean mayBeLonger) {
        try {
            read(value, from, new GenericRowData(columns.length), fields);
        } catch (Undecodable problem) {
            return false;
        }
        return mayBeLonger || position == value.length;
    }
}
