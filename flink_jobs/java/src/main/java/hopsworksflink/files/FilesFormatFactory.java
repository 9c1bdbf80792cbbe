package hopsworksflink.files;

import hopsworksflink.format.Column;
import java.util.Set;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.table.factories.BulkReaderFormatFactory;
import org.apache.flink.connector.file.table.format.BulkDecodingFormat;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.DataType;

/**
 * The format {@code hopsworks-files}: files of past events, read as they were written or not at all.
 *
 * <p>Flink's own formats know no header line, take yes for false and 3.9 for 3, and read a column of a Parquet file with
 * the table's type whatever the file's is. What is not exactly a row of the table's columns fails the job for good, with
 * the file, the column, and the value or both types.
 */
public final class FilesFormatFactory implements BulkReaderFormatFactory {

    private static final ConfigOption<FilesFormat.Encoding> ENCODING =
            ConfigOptions.key("encoding")
                    .enumType(FilesFormat.Encoding.class)
                    .noDefaultValue()
                    .withDescription("parquet, csv or json.");
    private static final ConfigOption<Boolean> HEADER =
            ConfigOptions.key("header")
                    .booleanType()
                    .defaultValue(false)
                    .withDescription("Whether the first line of each CSV file names its columns.");

    @Override
    public String factoryIdentifier() {
        return "hopsworks-files";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(ENCODING);
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of(HEADER, Column.TIMESTAMPS, Column.COLUMNS);
    }

    @Override
    public BulkDecodingFormat<RowData> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        FactoryUtil.validateFactoryOptions(this, options);
        FilesFormat.Encoding encoding = options.get(ENCODING);
        boolean header = options.get(HEADER);
        return new BulkDecodingFormat<>() {
            @Override
            public BulkFormat<RowData, FileSourceSplit> createRuntimeDecoder(
                    DynamicTableSource.Context source, DataType produced) {
                Column[] columns = Column.of(DataType.getFields(produced), options);
                return new FilesFormat(encoding, header, columns, source.createTypeInformation(produced));
            }

            @Override
            public ChangelogMode getChangelogMode() {
                return ChangelogMode.insertOnly();
            }
        };
    }
}
