package hopsworksflink.files;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.Base64;
import java.util.function.Function;
import java.util.regex.Pattern;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;

/** Makes a value of a text that is exactly one of the column's type: nothing is rounded, cut, or guessed. */
final class CsvValue {

    private static final Pattern NUMBER =
            Pattern.compile("[+-]?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d+)?|[+-]?(NaN|Infinity)");
    private static final Pattern ZONE = Pattern.compile(".*(Z|[+-]\\d\\d:\\d\\d)");
    private static final int LONGEST_SHOWN = 60;

    private final String name;
    private final LogicalType type;
    private final Function<String, Object> reading;

    CsvValue(RowType.RowField column) {
        name = column.getName();
        type = column.getType();
        reading = reading(type);
    }

    /** The value. Throws IllegalArgumentException, naming the column, for a text that is none. */
    Object of(String text) {
        try {
            return reading.apply(text);
        } catch (IllegalArgumentException | ArithmeticException | DateTimeException error) {
            String shown = text.length() <= LONGEST_SHOWN ? text : text.substring(0, LONGEST_SHOWN) + "…";
            throw new IllegalArgumentException(
                    "column " + name + ": '" + shown + "' is not exactly a value of type " + type.asSummaryString(),
                    error);
        }
    }

    private static Function<String, Object> reading(LogicalType type) {
        return switch (type.getTypeRoot()) {
            case BOOLEAN -> text -> truth(text.trim());
            case TINYINT -> text -> Byte.valueOf(text.trim());
            case SMALLINT -> text -> Short.valueOf(text.trim());
            case INTEGER -> text -> Integer.valueOf(text.trim());
            case BIGINT -> text -> Long.valueOf(text.trim());
            case FLOAT -> text -> Float.valueOf(number(text.trim()));
            case DOUBLE -> text -> Double.valueOf(number(text.trim()));
            case DECIMAL -> text -> decimal(text.trim(), (DecimalType) type);
            case CHAR, VARCHAR -> StringData::fromString;
            case BINARY, VARBINARY -> text -> Base64.getDecoder().decode(text);
            case DATE -> text -> (int) LocalDate.parse(text.trim()).toEpochDay();
            case TIMESTAMP_WITHOUT_TIME_ZONE, TIMESTAMP_WITH_LOCAL_TIME_ZONE -> text -> moment(text.trim());
            default -> throw new IllegalArgumentException("CSV cannot hold a column of type " + type);
        };
    }

    private static Boolean truth(String text) {
        if (text.equalsIgnoreCase("true")) {
            return true;
        }
        if (text.equalsIgnoreCase("false")) {
            return false;
        }
        throw new IllegalArgumentException(text);
    }

    private static String number(String text) {
        // Java itself takes `1d` and `0x1p3` for numbers as well.
        if (!NUMBER.matcher(text).matches()) {
            throw new IllegalArgumentException(text);
        }
        return text;
    }

    private static DecimalData decimal(String text, DecimalType type) {
        BigDecimal exact = new BigDecimal(text).setScale(type.getScale(), RoundingMode.UNNECESSARY);
        if (exact.precision() > type.getPrecision()) {
            throw new ArithmeticException(text);
        }
        return DecimalData.fromBigDecimal(exact, type.getPrecision(), type.getScale());
    }

    private static TimestampData moment(String text) {
        String iso = text.replace(' ', 'T');
        return TimestampData.fromInstant(
                ZONE.matcher(iso).matches()
                        ? OffsetDateTime.parse(iso).toInstant()
                        : LocalDateTime.parse(iso).toInstant(ZoneOffset.UTC));
    }
}
