package hopsworksflink.files;

import java.io.IOException;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.table.format.BulkDecodingFormat;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.Projection;
import org.apache.flink.table.connector.format.ProjectableDecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.RowType;

/** What formats of files have in common: which columns are wanted, and errors that name the file. */
abstract class FilesFormat
        implements BulkDecodingFormat<RowData>, ProjectableDecodingFormat<BulkFormat<RowData, FileSourceSplit>> {

    /**
     * @param all the columns of a file.
     * @param wanted those that are read.
     */
    abstract BulkFormat<RowData, FileSourceSplit> reading(
            RowType all, RowType wanted, TypeInformation<RowData> produced);

    @Override
    public BulkFormat<RowData, FileSourceSplit> createRuntimeDecoder(
            DynamicTableSource.Context context, DataType physical, int[][] projections) {
        DataType wanted = Projection.of(projections).project(physical);
        TypeInformation<RowData> produced = context.createTypeInformation(wanted);
        return new Named(
                reading((RowType) physical.getLogicalType(), (RowType) wanted.getLogicalType(), produced));
    }

    @Override
    public ChangelogMode getChangelogMode() {
        return ChangelogMode.insertOnly();
    }

    /** Reads as another format does, and says of which file an error is. */
    private static final class Named implements BulkFormat<RowData, FileSourceSplit> {

        private static final long serialVersionUID = 1L;

        private final BulkFormat<RowData, FileSourceSplit> format;

        Named(BulkFormat<RowData, FileSourceSplit> format) {
            this.format = format;
        }

        @Override
        public Reader<RowData> createReader(Configuration config, FileSourceSplit split) throws IOException {
            try {
                return new NamedReader(format.createReader(config, split), split);
            } catch (IOException | RuntimeException error) {
                throw named(split, error);
            }
        }

        @Override
        public Reader<RowData> restoreReader(Configuration config, FileSourceSplit split) throws IOException {
            try {
                return new NamedReader(format.restoreReader(config, split), split);
            } catch (IOException | RuntimeException error) {
                throw named(split, error);
            }
        }

        @Override
        public boolean isSplittable() {
            return format.isSplittable();
        }

        @Override
        public TypeInformation<RowData> getProducedType() {
            return format.getProducedType();
        }
    }

    private static final class NamedReader implements BulkFormat.Reader<RowData> {

        private final BulkFormat.Reader<RowData> reader;
        private final FileSourceSplit split;

        NamedReader(BulkFormat.Reader<RowData> reader, FileSourceSplit split) {
            this.reader = reader;
            this.split = split;
        }

        @Override
        public BulkFormat.RecordIterator<RowData> readBatch() throws IOException {
            try {
                return reader.readBatch();
            } catch (IOException | RuntimeException error) {
                throw named(split, error);
            }
        }

        @Override
        public void close() throws IOException {
            reader.close();
        }
    }

    private static IOException named(FileSourceSplit split, Exception error) {
        return new IOException("history file " + split.path() + ": " + error.getMessage(), error);
    }
}
