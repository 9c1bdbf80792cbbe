package hopsworksflink.window;

import java.math.BigInteger;

/** Whole numbers of several 64-bit words, the lowest first, in two's complement. */
final class Fixed {
    private Fixed() {}

    /** Adds a number of 128 bits, times two to the power of a shift, to a number of so many words. */
    static void add(long[] words, int at, int count, long low, long high, int shift) {
        int skipped = shift >>> 6;
        int left = shift & 63;
        long sign = high >> 63;
        long first = low << left;
        long second = left == 0 ? high : high << left | low >>> (64 - left);
        long third = left == 0 ? sign : sign << left | high >>> (64 - left);
        long carry = 0;
        for (int index = skipped; index < count; index++) {
            int behind = index - skipped;
            long next = behind == 0 ? first : behind == 1 ? second : behind == 2 ? third : sign;
            if (behind > 2 && next + carry == 0) {
                return;
            }
            carry = addWord(words, at + index, next, carry);
        }
    }

    /** Adds a number to another one of as many words. */
    static void add(long[] from, int source, long[] words, int at, int count) {
        long carry = 0;
        for (int index = 0; index < count; index++) {
            carry = addWord(words, at + index, from[source + index], carry);
        }
    }

    /** Adds to one word, and returns the carry. */
    private static long addWord(long[] words, int at, long number, long carry) {
        long sum = words[at] + number;
        long all = sum + carry;
        words[at] = all;
        return Long.compareUnsigned(sum, number) < 0 || Long.compareUnsigned(all, sum) < 0 ? 1 : 0;
    }

    static BigInteger number(long[] words, int at, int count) {
        byte[] bytes = new byte[8 * count];
        for (int index = 0; index < bytes.length; index++) {
            bytes[bytes.length - 1 - index] = (byte) (words[at + (index >>> 3)] >>> ((index & 7) << 3));
        }
        return new BigInteger(bytes);
    }
}
