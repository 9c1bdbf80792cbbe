package hopsworksflink.files;

import hopsworksflink.format.Column;
import hopsworksflink.format.Texts;
import hopsworksflink.format.Utf8;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import org.apache.flink.table.data.StringData;
import org.apache.parquet.io.api.Binary;
import org.apache.parquet.io.api.PrimitiveConverter;
import org.apache.parquet.schema.LogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.DateLogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.DecimalLogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.EnumLogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.IntLogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.JsonLogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.StringLogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.TimestampLogicalTypeAnnotation;
import org.apache.parquet.schema.PrimitiveType;
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName;
import org.apache.parquet.schema.Type;

/** Makes the values of one column of those that a Parquet file has for it: the same value, or none. */
abstract class ParquetValue extends PrimitiveConverter {

    private static final long JULIAN_EPOCH = 2_440_588;
    private static final long DAY_MICROSECONDS = 86_400_000_000L;

    private final Column column;
    private final int scale;
    private final long perSecond;
    private final boolean isText;

    /** @param stored the file's type, which {@link #fits}. */
    ParquetValue(Column column, PrimitiveType stored) {
        this.column = column;
        LogicalTypeAnnotation meaning = stored.getLogicalTypeAnnotation();
        isText = meaning instanceof StringLogicalTypeAnnotation;
        scale = meaning instanceof DecimalLogicalTypeAnnotation decimal ? decimal.getScale() : 0;
        perSecond =
                !(meaning instanceof TimestampLogicalTypeAnnotation timestamp)
                        ? 0
                        : switch (timestamp.getUnit()) {
                            case MILLIS -> 1_000;
                            case MICROS -> 1_000_000;
                            case NANOS -> 1_000_000_000;
                        };
    }

    /**
     * Takes a value.
     *
     * @param held as the column holds it, null if it cannot.
     * @param written as the file has it.
     */
    abstract void take(Object held, Object written);

    /** Whether a type of a file has values of the column's meaning. */
    static boolean fits(Column column, Type stored) {
        if (!stored.isPrimitive() || stored.isRepetition(Type.Repetition.REPEATED)) {
            return false;
        }
        PrimitiveTypeName physical = stored.asPrimitiveType().getPrimitiveTypeName();
        LogicalTypeAnnotation meaning = stored.getLogicalTypeAnnotation();
        return switch (column.kind()) {
            case BOOLEAN -> physical == PrimitiveTypeName.BOOLEAN;
            case TINYINT, SMALLINT, INT, BIGINT -> isWhole(physical, meaning);
            case FLOAT -> physical == PrimitiveTypeName.FLOAT;
            case DOUBLE -> physical == PrimitiveTypeName.FLOAT
                    || physical == PrimitiveTypeName.DOUBLE
                    || isWhole(physical, meaning);
            case DECIMAL -> meaning instanceof DecimalLogicalTypeAnnotation || isWhole(physical, meaning);
            case STRING -> physical == PrimitiveTypeName.BINARY
                    && (meaning == null
                            || meaning instanceof StringLogicalTypeAnnotation
                            || meaning instanceof EnumLogicalTypeAnnotation
                            || meaning instanceof JsonLogicalTypeAnnotation);
            case BINARY -> meaning == null
                    && (physical == PrimitiveTypeName.BINARY || physical == PrimitiveTypeName.FIXED_LEN_BYTE_ARRAY);
            case DATE -> meaning instanceof DateLogicalTypeAnnotation;
            case TIMESTAMP -> physical == PrimitiveTypeName.INT96
                    || column.times().isText() && meaning instanceof StringLogicalTypeAnnotation
                    || column.times().perSecond() > 0 && isWhole(physical, meaning)
                    || meaning instanceof TimestampLogicalTypeAnnotation;
        };
    }

    private static boolean isWhole(PrimitiveTypeName physical, LogicalTypeAnnotation meaning) {
        int bits = physical == PrimitiveTypeName.INT32 ? 32 : physical == PrimitiveTypeName.INT64 ? 64 : 0;
        // The largest unsigned ones would look like negative numbers.
        return bits > 0
                && (meaning == null
                        || meaning instanceof IntLogicalTypeAnnotation integer
                                && (integer.isSigned() || integer.getBitWidth() < bits));
    }

    /** A type for messages. */
    static String shown(Type stored) {
        if (!stored.isPrimitive()) {
            return "a group of columns";
        }
        LogicalTypeAnnotation meaning = stored.getLogicalTypeAnnotation();
        String repeated = stored.isRepetition(Type.Repetition.REPEATED) ? "repeated " : "";
        return repeated + stored.asPrimitiveType().getPrimitiveTypeName() + (meaning == null ? "" : " " + meaning);
    }

    @Override
    public void addBoolean(boolean written) {
        take(written, written);
    }

    @Override
    public void addInt(int written) {
        addLong(written);
    }

    @Override
    public void addLong(long written) {
        take(
                switch (column.kind()) {
                    case DECIMAL -> column.decimal(BigDecimal.valueOf(written, scale));
                    // Some of the largest lie between two doubles.
                    case DOUBLE -> (long) (double) written == written && written != Long.MAX_VALUE
                            ? (Object) (double) written
                            : null;
                    case TIMESTAMP -> perSecond == 0 ? column.times().held(written, column) : moment(written);
                    default -> column.integer(written);
                },
                scale == 0 ? written : BigDecimal.valueOf(written, scale));
    }

    /** A timestamp in the file's unit; what is finer than microseconds is cut, as it is in JSON. */
    private Object moment(long written) {
        long seconds = Math.floorDiv(written, perSecond);
        long micros = Math.floorMod(written, perSecond) * 1_000_000L / perSecond;
        return seconds > Long.MAX_VALUE / 2_000_000 || seconds < Long.MIN_VALUE / 2_000_000
                ? null
                : column.integer(seconds * 1_000_000 + micros);
    }

    @Override
    public void addFloat(float written) {
        take(column.kind() == Column.Kind.FLOAT ? (Object) written : (Object) (double) written, written);
    }

    @Override
    public void addDouble(double written) {
        take(written, written);
    }

    @Override
    public void addBinary(Binary written) {
        byte[] bytes = written.copy().getBytes();
        switch (column.kind()) {
            case STRING -> take(
                    Utf8.isValid(bytes, 0, bytes.length) ? StringData.fromBytes(bytes) : null, "no UTF-8 text");
            case DECIMAL -> {
                BigDecimal number = bytes.length == 0 ? null : new BigDecimal(new BigInteger(bytes), scale);
                take(number == null ? null : column.decimal(number), number == null ? "no bytes" : number.toPlainString());
            }
            case TIMESTAMP -> {
                if (isText) {
                    String text = new String(bytes, StandardCharsets.UTF_8);
                    take(Texts.read(text, column), '"' + Texts.excerpt(text) + '"');
                    return;
                }
                ByteBuffer parts = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
                long nanoseconds = parts.getLong();
                long day = Integer.toUnsignedLong(parts.getInt()) - JULIAN_EPOCH;
                take(
                        column.integer(day * DAY_MICROSECONDS + Math.floorDiv(nanoseconds, 1_000L)),
                        "day " + day + " and " + nanoseconds + " ns");
            }
            default -> take(bytes, null);
        }
    }
}
