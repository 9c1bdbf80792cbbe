package hopsworksflink.files;

import hopsworksflink.format.Column;
import hopsworksflink.format.Undecodable;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.formats.parquet.ParquetInputFile;
import org.apache.flink.table.data.GenericRowData;
import org.apache.parquet.ParquetReadOptions;
import org.apache.parquet.column.page.PageReadStore;
import org.apache.parquet.hadoop.ParquetFileReader;
import org.apache.parquet.io.ColumnIOFactory;
import org.apache.parquet.io.MessageColumnIO;
import org.apache.parquet.io.RecordReader;
import org.apache.parquet.io.api.Converter;
import org.apache.parquet.io.api.GroupConverter;
import org.apache.parquet.io.api.RecordMaterializer;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.Type;

/**
 * The rows of a Parquet file whose row groups begin in a split.
 *
 * <p>Through Parquet's own reader, which hands each value over as the file has it.
 */
final class ParquetRows implements Rows {

    private final FSDataInputStream stream;
    private final ParquetFileReader file;
    private final MessageColumnIO reading;
    private final Materializer materializer;
    private RecordReader<GenericRowData> group;
    private long left;
    private long number;

    ParquetRows(FileSourceSplit split, Column[] columns) throws IOException, Undecodable {
        stream = split.path().getFileSystem().open(split.path());
        try {
            ParquetReadOptions options =
                    ParquetReadOptions.builder().withRange(split.offset(), split.offset() + split.length()).build();
            file = ParquetFileReader.open(new ParquetInputFile(stream, split.fileSize()), options);
            MessageType stored = file.getFileMetaData().getSchema();
            refuseTypes(columns, stored);
            List<Type> wanted = new ArrayList<>();
            for (Column column : columns) {
                wanted.add(stored.getType(column.name()));
            }
            MessageType requested = new MessageType(stored.getName(), wanted);
            file.setRequestedSchema(requested);
            reading = new ColumnIOFactory().getColumnIO(requested, stored);
            materializer = new Materializer(columns, requested);
        } catch (IOException | RuntimeException | Undecodable problem) {
            stream.close();
            throw problem;
        }
    }

    /** Says everything that is wrong with the types of a file at once. */
    private static void refuseTypes(Column[] columns, MessageType stored) throws Undecodable {
        List<String> problems = new ArrayList<>();
        for (Column column : columns) {
            if (!stored.containsField(column.name())) {
                problems.add("there is no column " + column.name());
                continue;
            }
            Type type = stored.getType(column.name());
            if (!ParquetValue.fits(column, type)) {
                problems.add(
                        "column " + column.name() + " is " + column.type() + ", and " + ParquetValue.shown(type)
                                + " in the file");
            }
        }
        if (!problems.isEmpty()) {
            throw new Undecodable(String.join("; ", problems));
        }
    }

    @Override
    public GenericRowData next() throws IOException, Undecodable {
        while (left == 0) {
            PageReadStore pages = file.readNextRowGroup();
            if (pages == null) {
                return null;
            }
            left = pages.getRowCount();
            group = reading.getRecordReader(pages, materializer);
        }
        left--;
        number++;
        GenericRowData row = group.read();
        if (materializer.problem != null) {
            throw new Undecodable("row " + number + ": " + materializer.problem);
        }
        return row;
    }

    @Override
    public void close() throws IOException {
        try (stream) {
            file.close();
        }
    }

    /** Makes a row of what Parquet reads for each column. */
    private static final class Materializer extends RecordMaterializer<GenericRowData> {

        private final Converter[] values;
        private GenericRowData row;
        private String problem;

        Materializer(Column[] columns, MessageType stored) {
            values = new Converter[columns.length];
            for (int index = 0; index < columns.length; index++) {
                int at = index;
                Column column = columns[index];
                values[index] =
                        new ParquetValue(column, stored.getType(index).asPrimitiveType()) {
                            @Override
                            void take(Object held, Object written) {
                                row.setField(at, held);
                                if (held == null && problem == null) {
                                    problem = "column " + column.name() + " is " + column.type() + " and holds " + written;
                                }
                            }
                        };
            }
        }

        @Override
        public GenericRowData getCurrentRecord() {
            return row;
        }

        @Override
        public GroupConverter getRootConverter() {
            return new GroupConverter() {
                @Override
                public Converter getConverter(int index) {
                    return values[index];
                }

                @Override
                public void start() {
                    row = new GenericRowData(values.length);
                }

                @Override
                public void end() {}
            };
        }
    }
}
