package hopsworksflink.files;

import java.util.Set;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.table.factories.BulkReaderFormatFactory;
import org.apache.flink.connector.file.table.format.BulkDecodingFormat;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.types.logical.RowType;

/**
 * The format {@code parquet-files}: reads as Flink's own does, but compares the types of each file with the table's:
 * what can be widened is, and what would be misread is an error that names the column and both types.
 */
public final class ParquetFilesFormatFactory implements BulkReaderFormatFactory {

    @Override
    public String factoryIdentifier() {
        return "parquet-files";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of();
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of();
    }

    @Override
    public BulkDecodingFormat<RowData> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        return new FilesFormat() {
            @Override
            BulkFormat<RowData, FileSourceSplit> reading(
                    RowType all, RowType wanted, TypeInformation<RowData> produced) {
                return new ParquetFiles(all, wanted, produced);
            }
        };
    }
}
