package hopsworksflink.files;

import hopsworksflink.format.Column;
import hopsworksflink.format.Texts;
import hopsworksflink.format.Undecodable;
import java.io.CharConversionException;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.dataformat.csv.CsvFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.dataformat.csv.CsvParser;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;

/** The rows of a CSV file: columns by the names of its first line, or in the order of the table. */
final class CsvRows implements Rows {

    private static final Pattern NUMBER = Pattern.compile("[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?");
    // As Java, Python and databases write them.
    private static final Map<String, Double> BEYOND_NUMBERS =
            Map.of(
                    "nan", Double.NaN,
                    "inf", Double.POSITIVE_INFINITY,
                    "infinity", Double.POSITIVE_INFINITY,
                    "-inf", Double.NEGATIVE_INFINITY,
                    "-infinity", Double.NEGATIVE_INFINITY);

    private final CsvParser parser;
    private final Column[] columns;
    private final int[] places;
    private final int width;
    private List<String> first;
    private long number;

    CsvRows(InputStream file, Column[] columns, boolean header) throws IOException, Undecodable {
        this.columns = columns;
        // A parser that is there takes no notice of it.
        CsvFactory csv = new CsvFactory().enable(CsvParser.Feature.SKIP_EMPTY_LINES);
        parser = csv.createParser(file);
        List<String> names = Arrays.stream(columns).map(Column::name).toList();
        first = read();
        if (first != null) {
            List<String> line = first.stream().map(String::trim).toList();
            if (header) {
                refuseNames(names, line);
                names = line;
                first = read();
            } else if (new HashSet<>(line).equals(new HashSet<>(names))) {
                throw new Undecodable("its first line names the columns: set header: true in the pipeline's history");
            }
        }
        width = names.size();
        places = Arrays.stream(columns).map(Column::name).mapToInt(names::indexOf).toArray();
    }

    private static void refuseNames(List<String> wanted, List<String> found) throws Undecodable {
        for (String name : wanted) {
            if (!found.contains(name)) {
                throw new Undecodable(
                        "its first line names no column " + name + ", but " + Texts.excerpt(String.join(", ", found)));
            }
            if (found.indexOf(name) != found.lastIndexOf(name)) {
                throw new Undecodable("its first line names the column " + name + " twice");
            }
        }
    }

    /** The fields of the next row, null behind the last one. */
    private List<String> read() throws IOException, Undecodable {
        number++;
        try {
            if (parser.nextToken() == null) {
                return null;
            }
            List<String> fields = new ArrayList<>();
            while (parser.nextToken() != JsonToken.END_ARRAY) {
                String text = parser.getText();
                if (!Texts.isUnicode(text)) {
                    // The parser lets half a character pass.
                    throw new Undecodable("row " + number + " is no UTF-8 text");
                }
                fields.add(text);
            }
            return fields;
        } catch (JsonProcessingException broken) {
            throw new Undecodable("row " + number + " is no CSV: " + broken.getOriginalMessage());
        } catch (CharConversionException broken) {
            throw new Undecodable("row " + number + " is no UTF-8 text");
        }
    }

    @Override
    public GenericRowData next() throws IOException, Undecodable {
        List<String> row = first != null ? first : read();
        first = null;
        if (row == null) {
            return null;
        }
        if (row.size() != width) {
            throw new Undecodable("row " + number + " has " + row.size() + " fields, not " + width);
        }
        GenericRowData result = new GenericRowData(columns.length);
        for (int index = 0; index < columns.length; index++) {
            String text = row.get(places[index]);
            // Nothing, in quotes or not, is null.
            if (!text.isEmpty()) {
                Object held = value(text, columns[index]);
                if (held == null) {
                    throw new Undecodable(
                            "row " + number + ": column " + columns[index].name() + " is " + columns[index].type()
                                    + " and holds \"" + Texts.excerpt(text) + '"');
                }
                result.setField(index, held);
            }
        }
        return result;
    }

    /** The value of a text, null if it is none. */
    private static Object value(String text, Column column) {
        String plain = text.trim();
        boolean number = NUMBER.matcher(plain).matches();
        switch (column.kind()) {
            case STRING:
                return StringData.fromString(text);
            case BOOLEAN:
                return plain.equalsIgnoreCase("true") ? (Object) true : plain.equalsIgnoreCase("false") ? false : null;
            case TINYINT, SMALLINT, INT, BIGINT:
                return number ? Texts.integer(plain, column) : null;
            case DECIMAL:
                return number ? Texts.decimal(plain, column) : null;
            case FLOAT:
                Double wide = number ? null : BEYOND_NUMBERS.get(plain.toLowerCase(Locale.ROOT));
                Float single = number ? (Float) Float.parseFloat(plain) : wide == null ? null : (Float) wide.floatValue();
                return single == null || number && single.isInfinite() ? null : single;
            case DOUBLE:
                Double read = number ? (Double) Double.parseDouble(plain) : BEYOND_NUMBERS.get(plain.toLowerCase(Locale.ROOT));
                return read == null || number && read.isInfinite() ? null : read;
            case TIMESTAMP:
                if (column.times().perSecond() > 0) {
                    return number ? Texts.moment(plain, column) : null;
                }
                if (column.times().pattern() != null) {
                    return Texts.read(plain, column);
                }
                // Databases and Python part day and hour by a blank.
                return Texts.read(plain.replaceFirst("^([0-9-]{10}) ", "$1T"), column);
            default:
                return Texts.read(plain, column);
        }
    }

    @Override
    public void close() throws IOException {
        parser.close();
    }
}
