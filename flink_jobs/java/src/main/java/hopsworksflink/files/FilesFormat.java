package hopsworksflink.files;

import hopsworksflink.format.Column;
import hopsworksflink.format.Undecodable;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.util.zip.ZipException;
import org.apache.flink.api.common.io.compression.GzipInflaterInputStreamFactory;
import org.apache.flink.api.common.io.compression.InflaterInputStreamFactory;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.compression.StandardDeCompressors;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.src.util.ArrayResultIterator;
import org.apache.flink.connector.file.src.util.CheckpointedPosition;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.fs.Path;
import org.apache.flink.runtime.execution.SuppressRestartsException;
import org.apache.flink.table.data.RowData;

/** Reads files into rows of the columns, and says of which file an error is. */
public final class FilesFormat implements BulkFormat<RowData, FileSourceSplit> {

    /** How a file is written. */
    public enum Encoding {
        PARQUET,
        CSV,
        JSON
    }

    private static final long serialVersionUID = 1L;
    private static final int BATCH = 1000;

    private final Encoding encoding;
    private final boolean header;
    private final Column[] columns;
    private final TypeInformation<RowData> produced;

    /** @param header whether the first line of a CSV file names its columns. */
    public FilesFormat(Encoding encoding, boolean header, Column[] columns, TypeInformation<RowData> produced) {
        this.encoding = encoding;
        this.header = header;
        this.columns = columns;
        this.produced = produced;
    }

    @Override
    public BulkFormat.Reader<RowData> createReader(Configuration config, FileSourceSplit split) throws IOException {
        return new Batches(split);
    }

    @Override
    public BulkFormat.Reader<RowData> restoreReader(Configuration config, FileSourceSplit split) throws IOException {
        return new Batches(split);
    }

    @Override
    public boolean isSplittable() {
        // Where a row of CSV begins can only be told from the begin of its file; JSON tells the line of an error.
        return encoding == Encoding.PARQUET;
    }

    @Override
    public TypeInformation<RowData> getProducedType() {
        return produced;
    }

    private Rows open(FileSourceSplit split) throws IOException, Undecodable {
        return switch (encoding) {
            case PARQUET -> new ParquetRows(split, columns);
            case CSV -> new CsvRows(text(split.path()), columns, header);
            case JSON -> new JsonRows(text(split.path()), columns);
        };
    }

    private static InputStream text(Path path) throws IOException, Undecodable {
        FileSystem files = path.getFileSystem();
        InflaterInputStreamFactory<?> compression =
                StandardDeCompressors.getDecompressorForFileName(path.getName());
        if (compression != null && !(compression instanceof GzipInflaterInputStreamFactory)) {
            // Of bzip2 Flink reads the first stream, and files of several, as pbzip2 writes them, would end there.
            throw new Undecodable("of compressed files only those of gzip are read (.gz)");
        }
        InputStream stored = files.open(path);
        return compression == null ? stored : compression.create(stored);
    }

    private final class Batches implements BulkFormat.Reader<RowData> {

        private final FileSourceSplit split;
        private final Rows rows;
        private long done;

        Batches(FileSourceSplit split) throws IOException {
            this.split = split;
            rows = named(() -> open(split));
            long before = split.getReaderPosition().map(CheckpointedPosition::getRecordsAfterOffset).orElse(0L);
            while (done < before && named(rows::next) != null) {
                done++;
            }
        }

        @Override
        public BulkFormat.RecordIterator<RowData> readBatch() throws IOException {
            RowData[] batch = new RowData[BATCH];
            int count = named(() -> fill(batch));
            if (count == 0) {
                return null;
            }
            ArrayResultIterator<RowData> result = new ArrayResultIterator<>();
            result.set(batch, count, CheckpointedPosition.NO_OFFSET, done);
            done += count;
            return result;
        }

        private int fill(RowData[] batch) throws IOException, Undecodable {
            int count = 0;
            for (RowData row; count < batch.length && (row = rows.next()) != null; count++) {
                batch[count] = row;
            }
            return count;
        }

        private <T> T named(Reading<T> reading) throws IOException {
            String file = "history file " + split.path() + ": ";
            try {
                return reading.run();
            } catch (Undecodable problem) {
                // The job fails for good: the file will say the same again.
                throw new SuppressRestartsException(new IOException(file + problem.getMessage()));
            } catch (RuntimeException | EOFException | ZipException broken) {
                throw new SuppressRestartsException(new IOException(file + "it is broken, or cut off: " + broken));
            } catch (IOException error) {
                throw new IOException(file + error.getMessage(), error);
            }
        }

        @Override
        public void close() throws IOException {
            rows.close();
        }
    }

    /** A step of reading. */
    private interface Reading<T> {
        T run() throws IOException, Undecodable;
    }
}
