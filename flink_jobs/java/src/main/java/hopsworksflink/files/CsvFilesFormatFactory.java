package hopsworksflink.files;

import java.util.Set;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.impl.StreamFormatAdapter;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.table.factories.BulkReaderFormatFactory;
import org.apache.flink.connector.file.table.format.BulkDecodingFormat;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.logical.RowType;

/**
 * The format {@code csv-files}: CSV whose first line may name the columns ({@code csv-files.header}), which Flink's own
 * does not know, and whose values must be exactly of their column's type.
 */
public final class CsvFilesFormatFactory implements BulkReaderFormatFactory {

    private static final ConfigOption<Boolean> HEADER =
            ConfigOptions.key("header")
                    .booleanType()
                    .defaultValue(false)
                    .withDescription("Whether the first line of each file names its columns.");

    @Override
    public String factoryIdentifier() {
        return "csv-files";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of();
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of(HEADER);
    }

    @Override
    public BulkDecodingFormat<RowData> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        FactoryUtil.validateFactoryOptions(this, options);
        boolean header = options.get(HEADER);
        return new FilesFormat() {
            @Override
            BulkFormat<RowData, FileSourceSplit> reading(
                    RowType all, RowType wanted, TypeInformation<RowData> produced) {
                return new StreamFormatAdapter<>(new CsvStreamFormat(all, wanted, produced, header));
            }
        };
    }
}
