package hopsworksflink.format;

import java.io.Serializable;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.ZoneId;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;

/**
 * How a timestamp stands in records: a text of ISO 8601 or of a pattern, or a number.
 *
 * <p>Rules are those of pipeline/json_values.py.
 *
 * @param pattern regular expression with a group for each of the fields; null: ISO 8601.
 * @param fields letter of each group.
 * @param zone where texts without a zone are local time; null: there are none.
 * @param perSecond how many of what a number counts make a second; 0: it is no number.
 */
public record Times(Pattern pattern, String fields, ZoneId zone, long perSecond) implements Serializable {

    private static final List<String> MONTHS =
            List.of("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec");
    public static final Times ISO = new Times(null, "", null, 0);

    /** Of the option of the format; null: the column is plain. */
    public static Times of(JsonNode written) {
        if (written == null) {
            return ISO;
        }
        JsonNode expression = written.get("expression");
        JsonNode zone = written.get("zone");
        long perSecond =
                switch (written.path("unit").asText()) {
                    case "seconds" -> 1;
                    case "milliseconds" -> 1_000;
                    case "microseconds" -> 1_000_000;
                    default -> 0;
                };
        return new Times(
                expression == null ? null : Pattern.compile(expression.asText()),
                written.path("fields").asText(),
                zone == null ? null : ZoneId.of(zone.asText()),
                perSecond);
    }

    /** Whether a record of Avro holds a text. */
    public boolean isText() {
        return pattern != null || zone != null;
    }

    /** The value of a timestamp column for a whole number of what it counts, without a unit of microseconds; null if out of range. */
    public Object held(long number, Column column) {
        long micros = perSecond == 0 ? 1 : 1_000_000 / perSecond;
        long most = Long.MAX_VALUE / micros;
        return number < -most || number > most ? null : column.integer(number * micros);
    }

    /** Microseconds since the epoch that a text says; null if it says none. */
    public Long microseconds(String text) {
        return pattern == null ? Texts.microseconds(text, zone) : byPattern(text);
    }

    private Long byPattern(String text) {
        Matcher found = pattern.matcher(text);
        if (!found.matches()) {
            return null;
        }
        int year = 0;
        int month = 0;
        int day = 0;
        int hour = 0;
        int minute = 0;
        int second = 0;
        int micros = 0;
        Integer east = null;
        boolean ofTwelve = fields.indexOf('h') >= 0;
        for (int field = 0; field < fields.length(); field++) {
            String part = found.group(field + 1);
            if (part == null) {
                continue;
            }
            switch (fields.charAt(field)) {
                case 'y' -> year = Integer.parseInt(part);
                case 'M' -> month = Integer.parseInt(part);
                case 'b' -> month = MONTHS.indexOf(part) + 1;
                case 'd' -> day = Integer.parseInt(part);
                case 'H' -> hour = Integer.parseInt(part);
                case 'h' -> {
                    int written = Integer.parseInt(part);
                    if (written < 1 || written > 12) {
                        return null;
                    }
                    hour += written % 12;
                }
                case 'a' -> hour += part.equals("PM") ? 12 : 0;
                case 'm' -> minute = Integer.parseInt(part);
                case 's' -> second = Integer.parseInt(part);
                case 'S' -> micros = Integer.parseInt((part + "00000").substring(0, 6));
                default -> {
                    east = Texts.minutesEast(part);
                    if (east == null) {
                        return null;
                    }
                }
            }
        }
        try {
            if (ofTwelve && hour > 23 || year < 1) {
                return null;
            }
            return microseconds(
                    LocalDate.of(year, month, day), LocalTime.of(hour, minute, second), micros, east, zone);
        } catch (DateTimeException none) {
            return null;
        }
    }

    /** @param east minutes of the zone that the text names; null: it names none. */
    static Long microseconds(LocalDate day, LocalTime time, int micros, Integer east, ZoneId zone) {
        long seconds;
        if (east != null) {
            seconds = day.toEpochDay() * 86_400 + time.toSecondOfDay() - east * 60L;
        } else if (zone == null) {
            return null;
        } else {
            // A time that the clocks showed twice is the first one; one that they left out counts on from before.
            seconds = LocalDateTime.of(day, time).atZone(zone).toEpochSecond();
        }
        return seconds * 1_000_000 + micros;
    }
}
