package hopsworksflink.format;

import java.io.IOException;
import java.math.BigDecimal;
import java.time.LocalDate;
import java.time.YearMonth;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
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
    private static final int LONGEST_EXPONENT = 4;
    private static final int LONGEST_FRACTION = 9;
    private static final int FARTHEST_ZONE = 18 * 60;
    private static final Pattern NUMBER = Pattern.compile("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?");

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
                                || token == JsonToken.VALUE_STRING && NUMBER.matcher(parser.getText()).matches();
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
    private static Object integer(JsonParser parser, Column column) throws IOException {
        if (isLong(parser)) {
            return column.integer(parser.getLongValue());
        }
        BigDecimal number = exact(parser.getText());
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

    private static double number(JsonParser parser) throws IOException {
        // Not as a long where that has no sign: -0.
        boolean whole = isLong(parser) && parser.getLongValue() != 0;
        return whole ? parser.getLongValue() : Double.parseDouble(parser.getText());
    }

    private static boolean isLong(JsonParser parser) throws IOException {
        return parser.currentToken() == JsonToken.VALUE_NUMBER_INT
                && parser.getNumberType() != JsonParser.NumberType.BIG_INTEGER;
    }

    /** The number that a text says, which is known to be one; null if no column could hold it. */
    private static BigDecimal exact(String text) {
        int exponent = Math.max(text.indexOf('e'), text.indexOf('E')) + 1;
        int sign = exponent > 0 && !Character.isDigit(text.charAt(exponent)) ? 1 : 0;
        // It must not be written out.
        boolean endless = exponent > 0 && text.length() - exponent - sign > LONGEST_EXPONENT;
        return endless || text.length() > LONGEST_NUMBER ? null : new BigDecimal(text);
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
        return text.length() == 10 ? dateAtStart(text) : null;
    }

    private static LocalDate dateAtStart(String text) {
        int year = digits(text, 0, 4);
        int month = digits(text, 5, 2);
        int day = digits(text, 8, 2);
        // The calendar begins with the year 1.
        if (year < 1 || month < 1 || month > 12 || day < 1 || !is(text, 4, '-') || !is(text, 7, '-')) {
            return null;
        }
        return day <= YearMonth.of(year, month).lengthOfMonth() ? LocalDate.of(year, month, day) : null;
    }

    /** Of an ISO timestamp with its zone, {@code 2025-03-01T12:00:00.123Z}; null if the text is none. */
    private static Long microseconds(String text) {
        LocalDate day = dateAtStart(text);
        int hour = digits(text, 11, 2);
        int minute = digits(text, 14, 2);
        if (day == null || !is(text, 10, 'T') || !is(text, 13, ':') || hour < 0 || hour > 23 || minute < 0 || minute > 59) {
            return null;
        }
        int at = 16;
        int second = 0;
        int micros = 0;
        if (is(text, at, ':')) {
            second = digits(text, at + 1, 2);
            at += 3;
            if (second < 0 || second > 59) {
                return null;
            }
            if (is(text, at, '.')) {
                int begin = ++at;
                for (; digits(text, at, 1) >= 0; at++) {
                    if (at - begin == LONGEST_FRACTION) {
                        return null;
                    }
                    micros = at - begin < 6 ? micros * 10 + digits(text, at, 1) : micros;
                }
                if (at == begin) {
                    return null;
                }
                for (int digit = at - begin; digit < 6; digit++) {
                    micros *= 10;
                }
            }
        }
        int east = 0;
        if (is(text, at, 'Z')) {
            at++;
        } else {
            boolean ahead = is(text, at, '+');
            int colon = is(text, at + 3, ':') ? 1 : 0;
            int hours = digits(text, at + 1, 2);
            int minutes = digits(text, at + 3 + colon, 2);
            if (!ahead && !is(text, at, '-') || hours < 0 || minutes < 0 || minutes > 59) {
                return null;
            }
            east = ahead ? hours * 60 + minutes : -hours * 60 - minutes;
            at += 5 + colon;
        }
        if (at != text.length() || Math.abs(east) > FARTHEST_ZONE) {
            return null;
        }
        long seconds = day.toEpochDay() * 86_400 + hour * 3_600 + (minute - east) * 60L + second;
        return seconds * 1_000_000 + micros;
    }

    private static boolean is(String text, int at, char one) {
        return at < text.length() && text.charAt(at) == one;
    }

    /** The number that so many digits say; negative if there are other characters, or too few. */
    private static int digits(String text, int from, int count) {
        int number = 0;
        for (int at = from; at < from + count; at++) {
            int digit = at < text.length() ? text.charAt(at) - '0' : -1;
            if (digit < 0 || digit > 9) {
                return -1;
            }
            number = number * 10 + digit;
        }
        return number;
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
