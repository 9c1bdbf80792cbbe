package quarantine;

import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.table.api.DataTypes;
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
import org.apache.flink.table.types.logical.RowType;

/**
 * The format {@code quarantine}: decodes as another format does ({@code quarantine.format}, its options behind {@code
 * quarantine.options.}), and makes a row of what that one cannot decode instead of failing the job.
 *
 * <p>The last two columns of the table are this format's own: a BYTES column for the value of a record that cannot be
 * decoded, and a STRING column that says why. Both are null for all other records, and all other columns are null for
 * these. It works inside the source, so watermarks and state are those of a job without it.
 */
public final class QuarantineFormatFactory implements DeserializationFormatFactory {

    private static final String AVRO = "avro";
    private static final ConfigOption<String> FORMAT =
            ConfigOptions.key("format").stringType().noDefaultValue().withDescription("The format to decode with.");
    private static final ConfigOption<Map<String, String>> OPTIONS =
            ConfigOptions.key("options").mapType().defaultValue(Map.of()).withDescription("Options of that format.");

    @Override
    public String factoryIdentifier() {
        return "quarantine";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(FORMAT);
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of(OPTIONS);
    }

    @Override
    public DecodingFormat<DeserializationSchema<RowData>> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        FactoryUtil.validateFactoryOptions(this, options);
        if (options.get(FORMAT).equals(AVRO)) {
            return new Format(null);
        }
        DeserializationFormatFactory factory =
                FactoryUtil.discoverFactory(
                        context.getClassLoader(), DeserializationFormatFactory.class, options.get(FORMAT));
        ReadableConfig own = Configuration.fromMap(new HashMap<>(options.get(OPTIONS)));
        return new Format(factory.createDecodingFormat(context, own));
    }

    private static final class Format implements DecodingFormat<DeserializationSchema<RowData>> {

        private final DecodingFormat<DeserializationSchema<RowData>> decoding;

        /**
         * @param decoding null for Avro, which this package decodes itself.
         */
        Format(DecodingFormat<DeserializationSchema<RowData>> decoding) {
            this.decoding = decoding;
        }

        @Override
        public DeserializationSchema<RowData> createRuntimeDecoder(
                DynamicTableSource.Context context, DataType produced) {
            int own = DataType.getFieldCount(produced) - 2;
            var types = DataType.getFieldDataTypes(produced);
            if (own < 1
                    || !types.get(own).getLogicalType().is(LogicalTypeRoot.VARBINARY)
                    || !types.get(own + 1).getLogicalType().is(LogicalTypeRoot.VARCHAR)) {
                throw new ValidationException(
                        "The last two columns of a table with the format quarantine must be BYTES and STRING.");
            }
            DataType decoded =
                    DataTypes.ROW(DataType.getFields(produced).subList(0, own)).notNull();
            DeserializationSchema<RowData> schema =
                    decoding == null
                            ? new AvroSchema(
                                    (RowType) decoded.getLogicalType(), context.createTypeInformation(decoded))
                            : decoding.createRuntimeDecoder(context, decoded);
            return new QuarantineSchema(schema, context.createTypeInformation(produced), own);
        }

        @Override
        public ChangelogMode getChangelogMode() {
            return decoding == null ? ChangelogMode.insertOnly() : decoding.getChangelogMode();
        }
    }
}
