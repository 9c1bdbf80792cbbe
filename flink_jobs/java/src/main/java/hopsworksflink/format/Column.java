package hopsworksflink.format;

import java.io.Serializable;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.MissingNode;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LogicalType;

/**
 * A column of the records.
 *
 * @param path where it stands in a record: names of fields, and places in arrays as Integer.
 * @param times how a timestamp stands in the records; Flink holds it as a BIGINT of microseconds.
 */
public record Column(String name, Kind kind, int precision, int scale, List<Object> path, Times times)
        implements Serializable {

    /** The scalar types of a pipeline file. */
    public enum Kind {
        BOOLEAN,
        TINYINT,
        SMALLINT,
        INT,
        BIGINT,
        FLOAT,
        DOUBLE,
        DECIMAL,
        STRING,
        BINARY,
        DATE,
        TIMESTAMP
    }

    /** The option of a format that names timestamps. */
    public static final ConfigOption<List<String>> TIMESTAMPS =
            ConfigOptions.key("timestamps")
                    .stringType()
                    .asList()
                    .defaultValues()
                    .withDescription("BIGINT columns that hold a timestamp, in microseconds.");
    /** The option of a format that says how columns stand in the records. */
    public static final ConfigOption<String> COLUMNS =
            ConfigOptions.key("columns")
                    .stringType()
                    .noDefaultValue()
                    .withDescription("JSON object, column to what its type does not say.");

    // From 1 January of the year 1 to the end of the year 9999.
    private static final long FIRST_DAY = -719_162;
    private static final long LAST_DAY = 2_932_896;
    private static final long FIRST_MICROSECOND = -62_135_596_800_000_000L;
    private static final long LAST_MICROSECOND = 253_402_300_799_999_999L;

    /** The columns of a table, with what its types do not say. */
    public static Column[] of(List<DataTypes.Field> fields, ReadableConfig options) {
        JsonNode more = options.getOptional(COLUMNS).map(Column::parsed).orElse(MissingNode.getInstance());
        Set<String> timestamps = Set.copyOf(options.get(TIMESTAMPS));
        return fields.stream()
                .map(
                        field -> {
                            LogicalType type = field.getDataType().getLogicalType();
                            return of(field.getName(), type, timestamps.contains(field.getName()), more.get(field.getName()));
                        })
                .toArray(Column[]::new);
    }

    private static JsonNode parsed(String text) {
        try {
            return new ObjectMapper().readTree(text);
        } catch (JsonProcessingException broken) {
            throw new ValidationException(COLUMNS.key() + " is no JSON: " + broken.getOriginalMessage());
        }
    }

    private static Column of(String name, LogicalType type, boolean timestamp, JsonNode more) {
        Kind kind =
                switch (type.getTypeRoot()) {
                    case BOOLEAN -> Kind.BOOLEAN;
                    case TINYINT -> Kind.TINYINT;
                    case SMALLINT -> Kind.SMALLINT;
                    case INTEGER -> Kind.INT;
                    case BIGINT -> timestamp ? Kind.TIMESTAMP : Kind.BIGINT;
                    case FLOAT -> Kind.FLOAT;
                    case DOUBLE -> Kind.DOUBLE;
                    case DECIMAL -> Kind.DECIMAL;
                    case VARCHAR -> Kind.STRING;
                    case VARBINARY -> Kind.BINARY;
                    case DATE -> Kind.DATE;
                    default -> throw new ValidationException("Column " + name + " cannot be " + type + ".");
                };
        if (type instanceof DecimalType decimal) {
            return new Column(name, kind, decimal.getPrecision(), decimal.getScale(), path(name, more), Times.ISO);
        }
        return new Column(name, kind, 0, 0, path(name, more), Times.of(more));
    }

    /** The path that the option of the format names; else the column's name. */
    public static List<Object> path(String name, JsonNode more) {
        if (more == null || !more.has("path")) {
            return List.of(name);
        }
        List<Object> steps = new ArrayList<>();
        more.get("path").forEach(step -> steps.add(step.isInt() ? (Object) step.asInt() : step.asText()));
        return steps;
    }

    /** The type as the pipeline file spells it. */
    public String type() {
        return kind == Kind.DECIMAL
                ? "decimal(" + precision + "," + scale + ")"
                : kind.name().toLowerCase(Locale.ROOT);
    }

    /** A number as Flink's value of this column (integers, dates in days, timestamps in microseconds); null if it is out of range. */
    public Object integer(long number) {
        switch (kind) {
            case TINYINT:
                return number == (byte) number ? (Object) (byte) number : null;
            case SMALLINT:
                return number == (short) number ? (Object) (short) number : null;
            case INT:
                return number == (int) number ? (Object) (int) number : null;
            case DATE:
                return FIRST_DAY <= number && number <= LAST_DAY ? (Object) (int) number : null;
            case TIMESTAMP:
                if (number < FIRST_MICROSECOND || number > LAST_MICROSECOND) {
                    return null;
                }
                return number;
            default:
                return number;
        }
    }

    /** A number as Flink's value of this decimal column; null if the column does not hold all of its digits. */
    public DecimalData decimal(BigDecimal number) {
        BigDecimal least = number.stripTrailingZeros();
        if (least.scale() > scale || least.precision() - least.scale() > precision - scale) {
            // Zero has a digit before the point that no type needs to hold.
            return least.signum() == 0 ? decimal(BigInteger.ZERO) : null;
        }
        return DecimalData.fromBigDecimal(least, precision, scale);
    }

    /** The same of a number that counts in the column's last digit. */
    public DecimalData decimal(BigInteger unscaled) {
        BigDecimal number = new BigDecimal(unscaled, scale);
        return number.precision() <= precision ? DecimalData.fromBigDecimal(number, precision, scale) : null;
    }
}
