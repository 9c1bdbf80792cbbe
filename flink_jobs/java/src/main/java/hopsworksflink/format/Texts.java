package hopsworksflink.format;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.time.LocalDate;
import java.time.LocalTime;
import java.time.YearMonth;
import java.time.ZoneId;
import java.util.Base64;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.StringData;

/** Makes values of texts that are exactly values of a column: nothing is rounded, cut or guessed. */
public final class Texts {

    static final int LONGEST_NUMBER = 1000;
    private static final int SHOWN = 40;
    private static final int LONGEST_EXPONENT = 4;
    private static final int LONGEST_FRACTION = 9;
    private static final int FARTHEST_ZONE = 18 * 60;

    private Texts() {}

    /** What a text column, a date and the like hold for a text; null if that is none. */
    public static Object read(String text, Column column) {
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
                Long microseconds = column.times().microseconds(text);
                return microseconds == null ? null : column.integer(microseconds);
        }
    }

    /** A whole number however it is written: 3, 3.0, 3e2. The text is known to be a number; null if the column cannot hold it. */
    public static Object integer(String text, Column column) {
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

    /** The same of a decimal column. */
    public static DecimalData decimal(String text, Column column) {
        BigDecimal number = exact(text);
        return number == null ? null : column.decimal(number);
    }

    /** The number that a text says, which is known to be one; null if no column could hold it. */
    private static BigDecimal exact(String text) {
        int exponent = Math.max(text.indexOf('e'), text.indexOf('E')) + 1;
        int sign = exponent > 0 && !Character.isDigit(text.charAt(exponent)) ? 1 : 0;
        // It must not be written out.
        boolean endless = exponent > 0 && text.length() - exponent - sign > LONGEST_EXPONENT;
        return endless || text.length() > LONGEST_NUMBER ? null : new BigDecimal(text);
    }

    /** The begin of a text, for messages. */
    public static String excerpt(String text) {
        return text.codePointCount(0, text.length()) > SHOWN
                ? text.substring(0, text.offsetByCodePoints(0, SHOWN - 1)) + "…"
                : text;
    }

    /** Whether a text holds no half of a surrogate pair. */
    public static boolean isUnicode(String text) {
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

    /** A number of what a timestamp column counts: what is finer than microseconds is cut; null if it is out of range. */
    public static Object moment(String number, Column column) {
        BigDecimal exact = exact(number);
        if (exact == null || exact.precision() - exact.scale() > 19) {
            return null;
        }
        BigDecimal micros = exact.multiply(BigDecimal.valueOf(1_000_000 / column.times().perSecond()));
        try {
            return column.integer(micros.setScale(0, RoundingMode.FLOOR).longValueExact());
        } catch (ArithmeticException tooLarge) {
            return null;
        }
    }

    /**
     * Of an ISO timestamp, {@code 2025-03-01T12:00:00.123Z}; null if the text is none.
     *
     * @param zone where a text without a zone is local time; null: it needs one.
     */
    static Long microseconds(String text, ZoneId zone) {
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
        if (at == text.length() && zone != null) {
            return Times.microseconds(day, LocalTime.of(hour, minute, second), micros, null, zone);
        }
        Integer east = minutesEast(text.substring(Math.min(at, text.length())));
        if (east == null) {
            return null;
        }
        long seconds = day.toEpochDay() * 86_400 + hour * 3_600 + (minute - east) * 60L + second;
        return seconds * 1_000_000 + micros;
    }

    /** Of a zone, {@code Z}, {@code +02:00} or {@code +0200}; null if it is none. */
    static Integer minutesEast(String zone) {
        if (zone.equals("Z")) {
            return 0;
        }
        int colon = is(zone, 3, ':') ? 1 : 0;
        int hours = digits(zone, 1, 2);
        int minutes = zone.length() == 3 ? 0 : digits(zone, 3 + colon, 2);
        boolean ahead = is(zone, 0, '+');
        boolean whole = zone.length() == 5 + colon || zone.length() == 3;
        int east = hours * 60 + minutes;
        if (!ahead && !is(zone, 0, '-') || !whole || hours < 0 || minutes < 0 || minutes > 59 || east > FARTHEST_ZONE) {
            return null;
        }
        return ahead ? east : -east;
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
}
