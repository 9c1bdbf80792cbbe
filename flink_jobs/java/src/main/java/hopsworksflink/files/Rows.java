package hopsworksflink.files;

import hopsworksflink.format.Undecodable;
import java.io.Closeable;
import java.io.IOException;
import org.apache.flink.table.data.GenericRowData;

/** The rows of one file, or of a part of it. */
interface Rows extends Closeable {

    /**
     * The next row, null behind the last one.
     *
     * @throws Undecodable it is not exactly a row of the columns; the message says which one it is.
     * @throws IOException the file cannot be read now.
     */
    GenericRowData next() throws IOException, Undecodable;
}
