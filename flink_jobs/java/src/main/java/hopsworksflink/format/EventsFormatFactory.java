package hopsworksflink.format;

import java.util.List;
import java.util.Set;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.format.DecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DeserializationFormatFactory;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;

/**
 * The format {@code hopsworks-events}: records of a pipeline's source, decoded as they were written or not at all.
 *
 * <p>What is not exactly one record of the table's columns fails the job ({@code on-error} = {@code fail}), or becomes a
 * row ({@code quarantine}). The last two columns of the table are then this format's own: a BYTES column for the value
 * of such a record, and a STRING column that says why. Both are null for all other records, and all other columns are
 * null for these. It works inside the source, so watermarks and state do not depend on {@code on-error}.
 *
 * <p>With {@code tombstones} = {@code rows} a record without a value is a row as well, and the last column, a BOOLEAN,
 * says which ones these are.
 */
public final class EventsFormatFactory implements DeserializationFormatFactory {

    static final String JSON = "json";
    private static final String PROTOBUF = "protobuf";
    private static final String QUARANTINE = "quarantine";
    private static final String ROWS = "rows";

    private static final ConfigOption<String> ENCODING =
            ConfigOptions.key("encoding").stringType().noDefaultValue().withDescription("avro, json or protobuf.");
    private static final ConfigOption<String> ON_ERROR =
            ConfigOptions.key("on-error").stringType().defaultValue("fail").withDescription("fail or quarantine.");
    private static final ConfigOption<Integer> APPENDED =
            ConfigOptions.key("appended")
                    .intType()
                    .defaultValue(0)
                    .withDescription("How many of the last columns a record of an older Avro schema may lack.");

    private static final ConfigOption<String> FRAMING =
            text("framing", "confluent: a zero byte and a schema's id in a registry stand in front of each record.");
    private static final ConfigOption<String> UNWRAP =
            text("unwrap", "debezium: records are its change events, of which inserts and updates are events.");
    private static final ConfigOption<String> TOMBSTONES =
            ConfigOptions.key("tombstones").stringType().defaultValue("skip").withDescription("skip or rows.");
    private static final ConfigOption<String> FEATURE_GROUP =
            text(EventsSchema.GROUP_OPTION, "Id: only records with it in the header featureGroupId are read.");
    private static final ConfigOption<List<Long>> SCHEMA_IDS =
            ConfigOptions.key("schema-ids")
                    .longType()
                    .asList()
                    .defaultValues()
                    .withDescription("The ids that are right; none: any.");
    private static final ConfigOption<String> SCHEMA = text("schema", "The schema that records of Avro were written with.");
    private static final ConfigOption<String> MESSAGE =
            text("message", "JSON object: what is read of messages of Protobuf.");
    private static final ConfigOption<String> URL = text("registry.url", "Of the registry that has the schemas.");
    private static final ConfigOption<String> AUTHORIZATION =
            text("registry.authorization", "Header of each request to it.");
    private static final ConfigOption<String> CA = text("registry.ca", "Certificates, PEM, that vouch for it.");

    private static ConfigOption<String> text(String key, String description) {
        return ConfigOptions.key(key).stringType().noDefaultValue().withDescription(description);
    }

    @Override
    public String factoryIdentifier() {
        return "hopsworks-events";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(ENCODING);
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of(
                ON_ERROR,
                Column.TIMESTAMPS,
                Column.COLUMNS,
                APPENDED,
                FRAMING,
                UNWRAP,
                TOMBSTONES,
                FEATURE_GROUP,
                SCHEMA_IDS,
                SCHEMA,
                MESSAGE,
                URL,
                AUTHORIZATION,
                CA);
    }

    @Override
    public DecodingFormat<DeserializationSchema<RowData>> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        FactoryUtil.validateFactoryOptions(this, options);
        String encoding = oneOf(options, ENCODING, "avro", JSON, PROTOBUF);
        if (encoding.equals(PROTOBUF) != options.getOptional(MESSAGE).isPresent()) {
            throw new ValidationException(MESSAGE.key() + " belongs to " + ENCODING.key() + " = " + PROTOBUF + ".");
        }
        boolean quarantine = oneOf(options, ON_ERROR, "fail", QUARANTINE).equals(QUARANTINE);
        boolean tombstones = oneOf(options, TOMBSTONES, "skip", ROWS).equals(ROWS);
        if (quarantine && tombstones) {
            throw new ValidationException("tombstones = rows needs on-error = fail.");
        }
        return new Format(encoding, quarantine, tombstones, options);
    }

    private static String oneOf(ReadableConfig options, ConfigOption<String> option, String... values) {
        if (!Set.of(values).contains(options.get(option))) {
            throw new ValidationException(option.key() + " must be " + String.join(" or ", values) + ".");
        }
        return options.get(option);
    }

    private record Format(String encoding, boolean quarantine, boolean tombstones, ReadableConfig options)
            implements DecodingFormat<DeserializationSchema<RowData>> {

        @Override
        public DeserializationSchema<RowData> createRuntimeDecoder(
                DynamicTableSource.Context context, DataType produced) {
            var fields = DataType.getFields(produced);
            int own = fields.size() - (quarantine ? 2 : tombstones ? 1 : 0);
            if (quarantine
                    && (own < 1
                            || !fields.get(own).getDataType().getLogicalType().is(LogicalTypeRoot.VARBINARY)
                            || !fields.get(own + 1).getDataType().getLogicalType().is(LogicalTypeRoot.VARCHAR))) {
                throw new ValidationException("The last two columns must be BYTES and STRING with on-error = quarantine.");
            }
            if (tombstones
                    && (own < 1 || !fields.get(own).getDataType().getLogicalType().is(LogicalTypeRoot.BOOLEAN))) {
                throw new ValidationException("The last column must be BOOLEAN with tombstones = rows.");
            }
            Column[] columns = Column.of(fields.subList(0, own), options);
            int required = own - options.get(APPENDED);
            Framing framing =
                    new Framing(
                            options.getOptional(FRAMING).isPresent(),
                            Set.copyOf(options.get(SCHEMA_IDS)),
                            options.get(SCHEMA),
                            registry(),
                            options.get(MESSAGE));
            return new EventsSchema(
                    encoding,
                    columns,
                    required,
                    framing,
                    options.getOptional(UNWRAP).isPresent(),
                    quarantine,
                    tombstones,
                    options.get(FEATURE_GROUP),
                    context.createTypeInformation(produced));
        }

        private Registry registry() {
            return options.getOptional(URL)
                    .map(url -> new Registry(url, options.get(AUTHORIZATION), options.get(CA)))
                    .orElse(null);
        }

        @Override
        public ChangelogMode getChangelogMode() {
            return ChangelogMode.insertOnly();
        }
    }
}
