package hopsworksflink.format;

import java.io.IOException;
import java.util.regex.Pattern;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.StreamReadConstraints;
import org.apache.flink.table.data.GenericRowData;

/**
 * Decodes records that are one JSON object each; fields that are no column are passed over.
 *
 * <p>Rules and sentences are those of pipeline/decoding.py.
 */
public final class JsonDecoder implements Decoder {

    private static final int DEEPEST = 100;
    private static final Pattern NUMBER = Pattern.compile("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?");

    private final JsonFactory factory =
            JsonFactory.builder()
                    // Names of fields that are no columns may be without end.
                    .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
                    .disable(JsonFactory.Feature.FAIL_ON_SYMBOL_HASH_OVERFLOW)
                    .streamReadConstraints(
                            StreamReadConstraints.builder()
                                    .maxNestingDepth(DEEPEST)
                                    .maxNumberLength(Texts.LONGEST_NUMBER)
                                    .maxStringLength(Integer.MAX_VALUE)
                                    .maxNameLength(Integer.MAX_VALUE)
                                    .build())
                    .build();
    private final Column[] columns;
    private final Place root;
    private long record;

    public JsonDecoder(Column[] columns) {
        this(columns, false);
    }

    /** @param enveloped whether the record may be in an envelope, beside its schema. */
    JsonDecoder(Column[] columns, boolean enveloped) {
        this.columns = columns;
        this.root = Place.tree(columns, enveloped);
    }

    @Override
    public boolean decode(byte[] value, GenericRowData row) throws Undecodable {
        if (value.length == 0) {
            throw new Undecodable("the value is empty");
        }
        if (!Utf8.isValid(value, 0, value.length)) {
            throw new Undecodable("it is no UTF-8 text");
        }
        int begin = 0;
        while (begin < value.length && isSpace(value[begin])) {
            begin++;
        }
        if (begin == value.length || value[begin] != '{') {
            throw new Undecodable("it is not a JSON object");
        }
        // From the brace on, behind which a zero byte would pass for UTF-16.
        if (begin + 1 < value.length && value[begin + 1] == 0) {
            throw new Undecodable("it is no JSON: broken, or cut off");
        }
        String problem;
        try (JsonParser parser = factory.createParser(value, begin, value.length - begin)) {
            record++;
            parser.nextToken();
            problem = readFields(parser, root, row);
            if (!isAtEnd(parser)) {
                problem = "more follows its JSON object";
            }
        } catch (IOException broken) {
            problem = "it is no JSON: broken, or cut off";
        }
        if (problem != null) {
            throw new Undecodable(problem);
        }
        return true;
    }

    /** Whether a text is a number as JSON writes it. */
    static boolean isNumber(String text) {
        return NUMBER.matcher(text).matches();
    }

    private static boolean isSpace(byte one) {
        return one == ' ' || one == '\t' || one == '\n' || one == '\r';
    }

    private static boolean isAtEnd(JsonParser parser) {
        try {
            return parser.nextToken() == null;
        } catch (IOException something) {
            return false;
        }
    }

    /** Reads an object to its end and says what is wrong with the first column that is not right, null if all are. */
    private String readFields(JsonParser parser, Place place, GenericRowData row) throws IOException {
        String problem = null;
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            Place inner = place.field(parser.currentName());
            String found = read(parser, parser.nextToken(), inner, row);
            problem = problem == null ? found : problem;
        }
        return problem;
    }

    private String readItems(JsonParser parser, Place place, GenericRowData row) throws IOException {
        String problem = null;
        JsonToken token;
        for (int index = 0; (token = parser.nextToken()) != JsonToken.END_ARRAY && token != null; index++) {
            String found = read(parser, token, place.item(index), row);
            problem = problem == null ? found : problem;
        }
        return problem;
    }

    /** Reads what stands at a place, null if it is of no column, and goes to its end. */
    private String read(JsonParser parser, JsonToken token, Place place, GenericRowData row) throws IOException {
        if (place == null) {
            parser.skipChildren();
            return null;
        }
        if (place.seen == record) {
            parser.skipChildren();
            return (place.column < 0 ? place.shown() : "column " + columns[place.column].name()) + " stands in it twice";
        }
        place.seen = record;
        if (token == JsonToken.VALUE_NULL) {
            return null;
        }
        if (place.column >= 0) {
            Column column = columns[place.column];
            Object held = read(parser, token, column);
            row.setField(place.column, held);
            String holds = held != null ? null : shown(parser, token);
            parser.skipChildren();
            return holds == null ? null : "column " + column.name() + " is " + column.type() + " and holds " + holds;
        }
        if (token == JsonToken.START_OBJECT && place.isObject()) {
            return readFields(parser, place, row);
        }
        if (token == JsonToken.START_ARRAY && !place.isObject()) {
            return readItems(parser, place, row);
        }
        String holds = shown(parser, token);
        parser.skipChildren();
        return place.shown() + " holds " + holds + ", not " + (place.isObject() ? "an object" : "an array");
    }

    /** The value of a column, null if the token is none. */
    private static Object read(JsonParser parser, JsonToken token, Column column) throws IOException {
        switch (column.kind()) {
            case BOOLEAN:
                return token.isBoolean() ? token == JsonToken.VALUE_TRUE : null;
            case TINYINT, SMALLINT, INT, BIGINT:
                return token.isNumeric() ? integer(parser, column) : null;
            case FLOAT:
                float single = token.isNumeric() ? Float.parseFloat(parser.getText()) : Float.NaN;
                return Float.isFinite(single) ? single : null;
            case DOUBLE:
                double number = token.isNumeric() ? number(parser) : Double.NaN;
                return Double.isFinite(number) ? number : null;
            case DECIMAL:
                // Also as text: many producers would lose its digits in a number.
                boolean written =
                        token.isNumeric()
                                || token == JsonToken.VALUE_STRING && isNumber(parser.getText());
                return written ? Texts.decimal(parser.getText(), column) : null;
            case TIMESTAMP:
                if (column.times().perSecond() > 0) {
                    return token.isNumeric() ? Texts.moment(parser.getText(), column) : null;
                }
                return token == JsonToken.VALUE_STRING ? Texts.read(parser.getText(), column) : null;
            default:
                return token == JsonToken.VALUE_STRING ? Texts.read(parser.getText(), column) : null;
        }
    }

    /** A whole number however it is written: 3, 3.0, 3e2. */
    private static Object integer(JsonParser parser, Column column) throws IOException {
        if (isLong(parser)) {
            return column.integer(parser.getLongValue());
        }
        return Texts.integer(parser.getText(), column);
    }

    private static double number(JsonParser parser) throws IOException {
        // Not as a long where that has no sign: -0.
        boolean whole = isLong(parser) && parser.getLongValue() != 0;
        return whole ? parser.getLongValue() : Double.parseDouble(parser.getText());
    }

    private static boolean isLong(JsonParser parser) throws IOException {
        return parser.currentToken() == JsonToken.VALUE_NUMBER_INT
                && parser.getNumberType() != JsonParser.NumberType.BIG_INTEGER;
    }

    private static String shown(JsonParser parser, JsonToken token) throws IOException {
        if (token.isStructStart()) {
            return token == JsonToken.START_OBJECT ? "an object" : "an array";
        }
        String text = Texts.excerpt(parser.getText());
        if (!Texts.isUnicode(text)) {
            return "text with half a character";
        }
        return token == JsonToken.VALUE_STRING ? '"' + text + '"' : text;
    }

    /** Whether a value that is no Avro may be a JSON object. */
    static boolean looksLikeJson(byte[] value) {
        int begin = 0;
        int end = value.length;
        while (begin < end && isSpace(value[begin])) {
            begin++;
        }
        while (begin < end && isSpace(value[end - 1])) {
            end--;
        }
        return end - begin > 1 && value[begin] == '{' && value[end - 1] == '}';
    }
}
