package hopsworksflink.files;

import hopsworksflink.format.Column;
import java.io.IOException;
import java.util.Set;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.enumerate.FileEnumerator;
import org.apache.flink.connector.file.src.enumerate.NonSplittingRecursiveAllDirEnumerator;
import org.apache.flink.connector.file.src.enumerate.NonSplittingRecursiveEnumerator;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.table.FileSystemConnectorOptions;
import org.apache.flink.connector.file.table.factories.BulkReaderFormatFactory;
import org.apache.flink.connector.file.table.format.BulkDecodingFormat;
import org.apache.flink.core.fs.Path;
import org.apache.flink.table.api.ValidationException;
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
        ReadableConfig table = Configuration.fromMap(context.getCatalogTable().getOptions());
        return new BulkDecodingFormat<>() {
            @Override
            public BulkFormat<RowData, FileSourceSplit> createRuntimeDecoder(
                    DynamicTableSource.Context source, DataType produced) {
                refuseNoFile(
                        table.get(FileSystemConnectorOptions.PATH),
                        table.get(FileSystemConnectorOptions.SOURCE_PATH_REGEX_PATTERN));
                Column[] columns = Column.of(DataType.getFields(produced), options);
                return new FilesFormat(encoding, header, columns, source.createTypeInformation(produced));
            }

            @Override
            public ChangelogMode getChangelogMode() {
                return ChangelogMode.insertOnly();
            }
        };
    }

    /** Without a file Flink finishes, and nobody is told that the path was another one. */
    private static void refuseNoFile(String path, String pattern) {
        // Those that Flink's source asks.
        FileEnumerator files =
                pattern == null ? new NonSplittingRecursiveEnumerator() : new NonSplittingRecursiveAllDirEnumerator(pattern);
        try {
            if (!files.enumerateSplits(new Path[] {new Path(path)}, 1).isEmpty()) {
                return;
            }
        } catch (IOException error) {
            throw new ValidationException("history: " + path + " cannot be listed: " + error, error);
        }
        String where = pattern == null ? "" : " that matches the pattern";
        throw new ValidationException(
                "history: in " + path + " is no file" + where + "; names that begin with _ or . are passed over");
    }
}
