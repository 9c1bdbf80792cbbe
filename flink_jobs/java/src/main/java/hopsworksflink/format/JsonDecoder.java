package hopsworksflink.format;

import java.io.IOException;
import java.math.BigDecimal;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.StreamReadConstraints;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;

/**
 * Decodes records that are one JSON object each; fields that are no column are passed over.
 *
 * <p>Rules and sentences are those of pipeline/decoding.py.
 */
final class JsonDecoder implements Decoder {

    private static final int LONGEST_NUMBER = 1000;
    private static final int DEEPEST = 100;
    private static final int SHOWN = 40;
    private static final Pattern NUMBER = Pattern.compile("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?([0-9]+))?");
    private static final Pattern DATE = Pattern.compile("([0-9]{4})-([0-9]{2})-([0-9]{2})");
    private static final Pattern TIMESTAMP =
            Pattern.compile(
                    "([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\\.([0-9]{1,9}))?)?"
                            + "(?:Z|([+-])([0-9]{2}):?([0-9]{2}))");

    private final JsonFactory factory =
            JsonFactory.builder()
                    // Names of fields that are no columns may be without end.
                    .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
                    .disable(JsonFactory.Feature.FAIL_ON_SYMBOL_HASH_OVERFLOW)
                    .streamReadConstraints(
                            StreamReadConstraints.builder()
                                    .maxNestingDepth(DEEPEST)
                                    .maxNumberLength(LONGEST_NUMBER)
                                    .maxStringLength(Integer.MAX_VALUE)
                                    .maxNameLength(Integer.MAX_VALUE)
                                    .build())
                    .build();
    private final Column[] columns;
    private final Map<String, Integer> indexes = new HashMap<>();
    private final boolean[] seen;

    JsonDecoder(Column[] columns) {
        this.columns = columns;
        this.seen = new boolean[columns.length];
        for (int index = 0; index < columns.length; index++) {
            indexes.put(columns[index].name(), index);
        }
    }

    @Override
    public void decode(byte[] value, GenericRowData row) throws Undecodable {
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
            problem = readObject(parser, row);
            if (!isAtEnd(parser)) {
                problem = "more follows its JSON object";
            }
        } catch (IOException broken) {
            problem = "it is no JSON: broken, or cut off";
        }
        if (problem != null) {
            throw new Undecodable(problem);
        }
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

    /** Reads the object to its end and says what is wrong with the first column that is not right, null if all are. */
    private String readObject(JsonParser parser, GenericRowData row) throws IOException {
        Arrays.fill(seen, false);
        String problem = null;
        parser.nextToken();
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            Integer index = indexes.get(parser.currentName());
            JsonToken token = parser.nextToken();
            if (index != null) {
                Column column = columns[index];
                String found = null;
                if (seen[index]) {
                    found = "column " + column.name() + " stands in it twice";
                } else if (token != JsonToken.VALUE_NULL) {
                    Object held = read(parser, token, column);
                    row.setField(index, held);
                    if (held == null) {
                        found = "column " + column.name() + " is " + column.type() + " and holds " + shown(parser, token);
                    }
                }
                seen[index] = true;
                problem = problem == null ? found : problem;
            }
            parser.skipChildren();
        }
        return problem;
    }

    /** The value of a column, null if the token is none. */
    private static Object read(JsonParser parser, JsonToken token, Column column) throws IOException {
        switch (column.kind()) {
            case BOOLEAN:
                return token.isBoolean() ? token == JsonToken.VALUE_TRUE : null;
            case TINYINT, SMALLINT, INT, BIGINT:
                return token.isNumeric() ? integer(parser.getText(), column) : null;
            case FLOAT:
                float single = token.isNumeric() ? Float.parseFloat(parser.getText()) : Float.NaN;
                return Float.isFinite(single) ? single : null;
            case DOUBLE:
                double number = token.isNumeric() ? Double.parseDouble(parser.getText()) : Double.NaN;
                return Double.isFinite(number) ? number : null;
            case DECIMAL:
                // Also as text: many producers would lose its digits in a number.
                boolean written = token.isNumeric() || token == JsonToken.VALUE_STRING;
                BigDecimal exact = written ? exact(parser.getText()) : null;
                return exact == null ? null : column.decimal(exact);
            default:
                return token == JsonToken.VALUE_STRING ? readText(parser.getText(), column) : null;
        }
    }

    private static Object readText(String text, Column column) {
        switch (column.kind()) {
            case STRING:
                return isUnicode(text) ? StringData.fromString(text) : null;
            case BINARY:
                try {
                    // Java's decoder does without the padding.
                    return text.length() % 4 == 0 ? Base64.getDecoder().decode(text) : null;
                } catch (IllegalArgumentException none) {
                    return null;
                }
            case DATE:
                LocalDate day = date(text);
                return day == null ? null : column.integer(day.toEpochDay());
            default:
                Long microseconds = microseconds(text);
                return microseconds == null ? null : column.integer(microseconds);
        }
    }

    /** A whole number however it is written: 3, 3.0, 3e2. */
    private static Object integer(String text, Column column) {
        BigDecimal number = exact(text);
        if (number == null) {
            return null;
        }
        BigDecimal least = number.stripTrailingZeros();
        if (least.scale() > 0 || least.precision() - least.scale() > 19) {
            return null;
        }
        try {
            return column.integer(least.longValueExact());
        } catch (ArithmeticException tooLarge) {
            return null;
        }
    }

    private static BigDecimal exact(String text) {
        if (text.length() > LONGEST_NUMBER) {
            return null;
        }
        Matcher parts = NUMBER.matcher(text);
        // No type holds a number with such an exponent, and it must not be written out.
        return parts.matches() && (parts.group(4) == null || parts.group(4).length() <= 4) ? new BigDecimal(text) : null;
    }

    private static boolean isUnicode(String text) {
        for (int at = 0; at < text.length(); at++) {
            char one = text.charAt(at);
            if (Character.isSurrogate(one)) {
                boolean pair =
                        Character.isHighSurrogate(one)
                                && at + 1 < text.length()
                                && Character.isLowSurrogate(text.charAt(at + 1));
                if (!pair) {
                    return false;
                }
                at++;
            }
        }
        return true;
    }

    private static LocalDate date(String text) {
        Matcher parts = DATE.matcher(text);
        try {
            // The calendar begins with the year 1.
            boolean dated = parts.matches() && part(parts, 1) > 0;
            return dated ? LocalDate.of(part(parts, 1), part(parts, 2), part(parts, 3)) : null;
        } catch (DateTimeException none) {
            return null;
        }
    }

    private static Long microseconds(String text) {
        Matcher parts = TIMESTAMP.matcher(text);
        LocalDate day = parts.matches() ? date(parts.group(1)) : null;
        if (day == null) {
            return null;
        }
        int hour = part(parts, 2);
        int minute = part(parts, 3);
        int second = part(parts, 4);
        int offset = part(parts, 7) * 60 + part(parts, 8);
        if (hour > 23 || minute > 59 || second > 59 || part(parts, 8) > 59 || offset > 18 * 60) {
            return null;
        }
        String fraction = parts.group(5) == null ? "" : parts.group(5);
        int micros = Integer.parseInt((fraction + "000000").substring(0, 6));
        int east = "-".equals(parts.group(6)) ? -offset : offset;
        long seconds = day.toEpochDay() * 86_400 + hour * 3_600 + (minute - east) * 60L + second;
        return seconds * 1_000_000 + micros;
    }

    private static int part(Matcher parts, int group) {
        return parts.group(group) == null ? 0 : Integer.parseInt(parts.group(group));
    }

    private static String shown(JsonParser parser, JsonToken token) throws IOException {
        if (token.isStructStart()) {
            return token == JsonToken.START_OBJECT ? "an object" : "an array";
        }
        String text = parser.getText();
        if (text.codePointCount(0, text.length()) > SHOWN) {
            text = text.substring(0, text.offsetByCodePoints(0, SHOWN - 1)) + "…";
        }
        if (!isUnicode(text)) {
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
