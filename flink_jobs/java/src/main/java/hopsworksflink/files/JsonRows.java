package hopsworksflink.files;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import hopsworksflink.format.Column;
import hopsworksflink.format.JsonDecoder;
import hopsworksflink.format.Undecodable;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import org.apache.flink.table.data.GenericRowData;

/** A JSON object on each line, judged as a record of a topic is. Empty lines are passed over. */
final class JsonRows implements Rows {

    private final BufferedReader lines;
    private final JsonDecoder decoder;
    private final int width;
    private long number;

    JsonRows(InputStream file, Column[] columns) {
        // A character for each byte: what the bytes mean is the decoder's affair.
        this.lines = new BufferedReader(new InputStreamReader(file, ISO_8859_1));
        this.decoder = new JsonDecoder(columns);
        this.width = columns.length;
    }

    @Override
    public GenericRowData next() throws IOException, Undecodable {
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            number++;
            if (line.isBlank()) {
                continue;
            }
            GenericRowData row = new GenericRowData(width);
            try {
                decoder.decode(line.getBytes(ISO_8859_1), row);
            } catch (Undecodable problem) {
                throw new Undecodable("line " + number + ": " + problem.getMessage());
            }
            return row;
        }
        return null;
    }

    @Override
    public void close() throws IOException {
        lines.close();
    }
}
