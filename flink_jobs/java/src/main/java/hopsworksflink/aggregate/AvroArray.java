package hopsworksflink.aggregate;

import java.io.ByteArrayOutputStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.StringData;

/**
 * An array as the feature store has it in a record: bytes, which are Avro's encoding of {@code ["null", {"type":
 * "array", "items": ["null", T]}]}. Source: Avro's specification, and `_encode_complex_features` of the feature store's
 * Python client.
 */
final class AvroArray {
    private static final int SECOND_BRANCH = 1;

    private AvroArray() {}

    /**
     * The bytes as characters of ISO 8859-1: where a group counts distinct values as well, Flink's batch mode takes the
     * least of the results of all other functions, and knows no least bytes.
     *
     * @param values none of them null; null in place of an array for none.
     */
    static StringData text(List<?> values) {
        if (values.isEmpty()) {
            return null;
        }
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        number(SECOND_BRANCH, out);
        number(values.size(), out);
        for (Object value : values) {
            number(SECOND_BRANCH, out);
            write(value, out);
        }
        number(0, out);
        return StringData.fromString(out.toString(StandardCharsets.ISO_8859_1));
    }

    private static void write(Object value, ByteArrayOutputStream out) {
        if (value instanceof Boolean flag) {
            out.write(flag ? 1 : 0);
        } else if (value instanceof Float number) {
            out.writeBytes(ByteBuffer.allocate(Float.BYTES)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .putFloat(number)
                    .array());
        } else if (value instanceof Double number) {
            out.writeBytes(ByteBuffer.allocate(Double.BYTES)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .putDouble(number)
                    .array());
        } else if (value instanceof StringData text) {
            sized(text.toBytes(), out);
        } else if (value instanceof DecimalData number) {
            sized(number.toUnscaledBytes(), out);
        } else {
            number(((Number) value).longValue(), out);
        }
    }

    private static void sized(byte[] bytes, ByteArrayOutputStream out) {
        number(bytes.length, out);
        out.writeBytes(bytes);
    }

    private static void number(long number, ByteArrayOutputStream out) {
        long left = (number << 1) ^ (number >> 63);
        while ((left & ~0x7fL) != 0) {
            out.write((int) (left & 0x7f | 0x80));
            left >>>= 7;
        }
        out.write((int) left);
    }

    /** Text from which {@link #parsed} makes the value again: a letter that says of which class it is comes first. */
    static String marked(Object value) {
        if (value instanceof StringData text) {
            return "C" + text;
        }
        if (value instanceof DecimalData number) {
            return "N" + number.toBigDecimal().toPlainString();
        }
        if (value instanceof Boolean || value instanceof Float || value instanceof Double) {
            return value.getClass().getSimpleName().charAt(0) + value.toString();
        }
        return "L" + value;
    }

    static Object parsed(String text) {
        String value = text.substring(1);
        switch (text.charAt(0)) {
            case 'C':
                return StringData.fromBytes(value.getBytes(StandardCharsets.UTF_8));
            case 'N':
                BigDecimal number = new BigDecimal(value);
                BigInteger digits = number.unscaledValue();
                return DecimalData.fromUnscaledBytes(digits.toByteArray(), 38, number.scale());
            case 'B':
                return Boolean.valueOf(value);
            case 'F':
                return Float.valueOf(value);
            case 'D':
                return Double.valueOf(value);
            default:
                return Long.valueOf(value);
        }
    }
}
