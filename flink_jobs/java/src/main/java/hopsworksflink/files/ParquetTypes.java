package hopsworksflink.files;

import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.FloatType;
import org.apache.flink.table.types.logical.IntType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.RowType;
import org.apache.parquet.schema.GroupType;
import org.apache.parquet.schema.LogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.DateLogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.DecimalLogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.IntLogicalTypeAnnotation;
import org.apache.parquet.schema.LogicalTypeAnnotation.TimestampLogicalTypeAnnotation;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName;
import org.apache.parquet.schema.Type;

/**
 * Which types of a Parquet file are good for which types of a table.
 *
 * <p>Flink's reader goes by the physical type alone: it takes times for plain numbers, cuts integers, and reads a decimal
 * with the table's scale whatever the file's is.
 */
final class ParquetTypes {

    private ParquetTypes() {}

    /** What is wrong with a column in a file, or null. */
    static String problem(RowType.RowField column, GroupType schema) {
        String name = column.getName();
        if (!schema.containsField(name)) {
            return "there is no column " + name;
        }
        Type found = schema.getType(name);
        boolean plain = found.isPrimitive() && !found.isRepetition(Type.Repetition.REPEATED);
        if (plain && fits(column.getType(), found)) {
            return null;
        }
        return "column " + name + " is " + shown(found) + ", and the pipeline reads "
                + column.getType().asSummaryString();
    }

    /** The type with which Flink reads a column that has no problem; narrower than the table's if it is to be widened. */
    static LogicalType stored(RowType.RowField column, MessageType schema) {
        PrimitiveTypeName physical = schema.getType(column.getName()).asPrimitiveType().getPrimitiveTypeName();
        LogicalType type = column.getType();
        if (type.is(LogicalTypeRoot.BIGINT) && physical == PrimitiveTypeName.INT32) {
            return new IntType(type.isNullable());
        }
        if (type.is(LogicalTypeRoot.DOUBLE) && physical == PrimitiveTypeName.FLOAT) {
            return new FloatType(type.isNullable());
        }
        return type;
    }

    private static boolean fits(LogicalType type, Type found) {
        PrimitiveTypeName physical = found.asPrimitiveType().getPrimitiveTypeName();
        LogicalTypeAnnotation meaning = found.getLogicalTypeAnnotation();
        return switch (type.getTypeRoot()) {
            case BOOLEAN -> physical == PrimitiveTypeName.BOOLEAN;
            case TINYINT -> bits(physical, meaning) <= 8;
            case SMALLINT -> bits(physical, meaning) <= 16;
            case INTEGER -> bits(physical, meaning) <= 32;
            case BIGINT -> bits(physical, meaning) <= 64;
            case FLOAT -> physical == PrimitiveTypeName.FLOAT;
            case DOUBLE -> physical == PrimitiveTypeName.DOUBLE || physical == PrimitiveTypeName.FLOAT;
            case DECIMAL -> meaning instanceof DecimalLogicalTypeAnnotation decimal
                    && decimal.getScale() == ((DecimalType) type).getScale()
                    && decimal.getPrecision() <= ((DecimalType) type).getPrecision();
            case CHAR, VARCHAR, BINARY, VARBINARY -> physical == PrimitiveTypeName.BINARY
                    && !(meaning instanceof DecimalLogicalTypeAnnotation);
            case DATE -> meaning instanceof DateLogicalTypeAnnotation;
            case TIMESTAMP_WITHOUT_TIME_ZONE, TIMESTAMP_WITH_LOCAL_TIME_ZONE -> physical == PrimitiveTypeName.INT96
                    || meaning instanceof TimestampLogicalTypeAnnotation;
            default -> false;
        };
    }

    /** How many bits a signed integer needs for the values; more than there are for what is no integer. */
    private static int bits(PrimitiveTypeName physical, LogicalTypeAnnotation meaning) {
        if (physical != PrimitiveTypeName.INT32 && physical != PrimitiveTypeName.INT64) {
            return Integer.MAX_VALUE;
        }
        int stored = physical == PrimitiveTypeName.INT32 ? 32 : 64;
        if (meaning == null) {
            return stored;
        }
        if (meaning instanceof IntLogicalTypeAnnotation integer) {
            int needed = integer.isSigned() ? integer.getBitWidth() : integer.getBitWidth() + 1;
            // The largest unsigned ones look like negative numbers.
            return needed > stored ? Integer.MAX_VALUE : needed;
        }
        return Integer.MAX_VALUE;
    }

    private static String shown(Type found) {
        if (!found.isPrimitive()) {
            return "a group of columns";
        }
        LogicalTypeAnnotation meaning = found.getLogicalTypeAnnotation();
        String physical = found.asPrimitiveType().getPrimitiveTypeName().name();
        return meaning == null ? physical : physical + " (" + meaning + ")";
    }
}
