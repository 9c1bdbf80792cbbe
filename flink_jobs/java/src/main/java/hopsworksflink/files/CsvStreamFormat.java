package hopsworksflink.files;

import java.io.IOException;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.reader.SimpleStreamFormat;
import org.apache.flink.connector.file.src.reader.StreamFormat;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.MappingIterator;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.dataformat.csv.CsvMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.dataformat.csv.CsvParser;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.RowType;

/** Reads a CSV file from its begin: columns by the names of its first line, or in the order of the table. */
final class CsvStreamFormat extends SimpleStreamFormat<RowData> {

    private static final long serialVersionUID = 1L;

    private final RowType all;
    private final RowType wanted;
    private final TypeInformation<RowData> produced;
    private final boolean header;

    CsvStreamFormat(RowType all, RowType wanted, TypeInformation<RowData> produced, boolean header) {
        this.all = all;
        this.wanted = wanted;
        this.produced = produced;
        this.header = header;
    }

    @Override
    public TypeInformation<RowData> getProducedType() {
        return produced;
    }

    @Override
    public StreamFormat.Reader<RowData> createReader(Configuration config, FSDataInputStream stream)
            throws IOException {
        return new Rows(
                new CsvMapper()
                        .readerForArrayOf(String.class)
                        .with(CsvParser.Feature.WRAP_AS_ARRAY)
                        .with(CsvParser.Feature.SKIP_EMPTY_LINES)
                        .readValues(stream));
    }

    private final class Rows implements StreamFormat.Reader<RowData> {

        private final MappingIterator<String[]> rows;
        private final CsvValue[] values;
        private final int width;
        private final int[] places;
        private String[] first;
        private long number;

        Rows(MappingIterator<String[]> rows) throws IOException {
            this.rows = rows;
            values = wanted.getFields().stream().map(CsvValue::new).toArray(CsvValue[]::new);
            first = next();
            List<String> names = all.getFieldNames();
            if (header && first != null) {
                names = Arrays.stream(first).map(String::trim).toList();
                refuseNames(names);
                first = next();
            } else if (first != null && new HashSet<>(names).equals(trimmed(first))) {
                throw new IOException("its first line names the columns: set history.header to true");
            }
            width = names.size();
            places = wanted.getFieldNames().stream().mapToInt(names::indexOf).toArray();
        }

        private void refuseNames(List<String> names) throws IOException {
            for (String name : all.getFieldNames()) {
                if (!names.contains(name)) {
                    throw new IOException(
                            "its first line does not name the column " + name + ", but " + String.join(", ", names));
                }
                if (names.indexOf(name) != names.lastIndexOf(name)) {
                    throw new IOException("its first line names the column " + name + " twice");
                }
            }
        }

        private Set<String> trimmed(String[] row) {
            Set<String> names = new HashSet<>();
            for (String name : row) {
                names.add(name == null ? "" : name.trim());
            }
            return names;
        }

        private String[] next() throws IOException {
            if (!rows.hasNextValue()) {
                return null;
            }
            number++;
            return rows.nextValue();
        }

        @Override
        public RowData read() throws IOException {
            String[] row = first != null ? first : next();
            first = null;
            if (row == null) {
                return null;
            }
            if (row.length != width) {
                throw new IOException("row " + number + " has " + row.length + " fields, not " + width);
            }
            GenericRowData result = new GenericRowData(places.length);
            for (int column = 0; column < places.length; column++) {
                String text = row[places[column]];
                try {
                    // Nothing, in quotes or not, is null.
                    result.setField(column, text == null || text.isEmpty() ? null : values[column].of(text));
                } catch (IllegalArgumentException error) {
                    throw new IOException("row " + number + ", " + error.getMessage(), error);
                }
            }
            return result;
        }

        @Override
        public void close() throws IOException {
            rows.close();
        }
    }
}
