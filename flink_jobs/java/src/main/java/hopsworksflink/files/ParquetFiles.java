package hopsworksflink.files;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.src.util.RecordAndPosition;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.fs.Path;
import org.apache.flink.formats.parquet.ParquetColumnarRowInputFormat;
import org.apache.flink.formats.parquet.ParquetInputFile;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.parquet.hadoop.ParquetFileReader;
import org.apache.parquet.schema.MessageType;

/** Reads each Parquet file with its own types, and makes the table's of them. */
final class ParquetFiles implements BulkFormat<RowData, FileSourceSplit> {

    private static final long serialVersionUID = 1L;
    // As many rows at a time as Flink's own format.
    private static final int BATCH = 2048;

    private final RowType all;
    private final RowType wanted;
    private final TypeInformation<RowData> produced;

    ParquetFiles(RowType all, RowType wanted, TypeInformation<RowData> produced) {
        this.all = all;
        this.wanted = wanted;
        this.produced = produced;
    }

    @Override
    public Reader<RowData> createReader(Configuration config, FileSourceSplit split) throws IOException {
        RowType stored = stored(split.path());
        return widened(stored, reading(stored).createReader(config, split));
    }

    @Override
    public Reader<RowData> restoreReader(Configuration config, FileSourceSplit split) throws IOException {
        RowType stored = stored(split.path());
        return widened(stored, reading(stored).restoreReader(config, split));
    }

    @Override
    public boolean isSplittable() {
        return true;
    }

    @Override
    public TypeInformation<RowData> getProducedType() {
        return produced;
    }

    private ParquetColumnarRowInputFormat<FileSourceSplit> reading(RowType stored) {
        return new ParquetColumnarRowInputFormat<>(
                new org.apache.hadoop.conf.Configuration(), stored, produced, BATCH, true, true);
    }

    /** The wanted columns with the types that the file has of them. Throws IOException for a file that does not fit. */
    private RowType stored(Path path) throws IOException {
        FileSystem files = path.getFileSystem();
        MessageType schema;
        try (ParquetFileReader reader =
                ParquetFileReader.open(
                        new ParquetInputFile(files.open(path), files.getFileStatus(path).getLen()))) {
            schema = reader.getFileMetaData().getSchema();
        }
        List<String> problems = new ArrayList<>();
        for (RowType.RowField column : all.getFields()) {
            String problem = ParquetTypes.problem(column, schema);
            if (problem != null) {
                problems.add(problem);
            }
        }
        if (!problems.isEmpty()) {
            throw new IOException(String.join("; ", problems));
        }
        List<RowType.RowField> fields = new ArrayList<>();
        for (RowType.RowField column : wanted.getFields()) {
            fields.add(
                    new RowType.RowField(column.getName(), ParquetTypes.stored(column, schema)));
        }
        return new RowType(fields);
    }

    private Reader<RowData> widened(RowType stored, Reader<RowData> reader) {
        LogicalType[] kinds = stored.getChildren().toArray(LogicalType[]::new);
        boolean[] widened = new boolean[kinds.length];
        boolean any = false;
        for (int column = 0; column < kinds.length; column++) {
            widened[column] = !kinds[column].is(wanted.getTypeAt(column).getTypeRoot());
            any |= widened[column];
        }
        return any ? new WideningReader(reader, new WidenedRow(widened)) : reader;
    }

    private static final class WideningReader implements Reader<RowData> {

        private final Reader<RowData> reader;
        // Flink's reader shows all rows through one object, too.
        private final WidenedRow row;

        WideningReader(Reader<RowData> reader, WidenedRow row) {
            this.reader = reader;
            this.row = row;
        }

        @Override
        public RecordIterator<RowData> readBatch() throws IOException {
            RecordIterator<RowData> batch = reader.readBatch();
            if (batch == null) {
                return null;
            }
            return new RecordIterator<>() {
                @Override
                public RecordAndPosition<RowData> next() {
                    RecordAndPosition<RowData> next = batch.next();
                    return next == null
                            ? null
                            : new RecordAndPosition<>(
                                    row.of(next.getRecord()), next.getOffset(), next.getRecordSkipCount());
                }

                @Override
                public void releaseBatch() {
                    batch.releaseBatch();
                }
            };
        }

        @Override
        public void close() throws IOException {
            reader.close();
        }
    }
}
