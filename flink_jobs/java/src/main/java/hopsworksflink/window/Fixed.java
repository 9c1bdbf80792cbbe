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

    /** Subtracts a number from another one of as many words. */
    static void subtract(long[] from, int source, long[] words, int at, int count) {
        // Minus a number is its complement and one more.
        long carry = 1;
        for (int index = 0; index < count; index++) {
            carry = addWord(words, at + index, ~from[source + index], carry);
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

    /** The double nearest to a number times two to the power of an exponent. */
    static double nearest(long[] words, int at, int count, int exponent) {
        double size = nearest(magnitude(words, at, count), exponent);
        return words[at + count - 1] < 0 ? -size : size;
    }

    /**
     * The double nearest to a count times the sum of squares, less the square of the sum, times two to the power of an
     * exponent. Such a number is not negative.
     */
    static double nearestSpread(
            long count, long[] words, int sum, int sumWords, int squares, int squareWords, int exponent) {
        long[] size = magnitude(words, sum, sumWords);
        long[] squared = product(size, size);
        long[] spread = product(magnitude(words, squares, squareWords), new long[] {count});
        long borrow = 0;
        for (int index = 0; index < spread.length; index++) {
            long less = index < squared.length ? squared[index] : 0;
            long without = spread[index] - less;
            long next = Long.compareUnsigned(spread[index], less) < 0 || borrow == 1 && without == 0 ? 1 : 0;
            spread[index] = without - borrow;
            borrow = next;
        }
        return nearest(spread, exponent);
    }

    private static double nearest(long[] size, int exponent) {
        int top = size.length - 1;
        while (top > 0 && size[top] == 0) {
            top--;
        }
        int zeros = Long.numberOfLeadingZeros(size[top]);
        if (zeros == Long.SIZE) {
            return 0;
        }
        long bits = size[top] << zeros;
        boolean more = false;
        if (top > 0) {
            bits |= zeros == 0 ? 0 : size[top - 1] >>> (Long.SIZE - zeros);
            more = size[top - 1] << zeros != 0;
            for (int index = 0; index < top - 1; index++) {
                more |= size[index] != 0;
            }
        }
        // Of 63 bits: the last one says whether there are more, which decides between two doubles that are as near.
        long rounded = bits >>> 1 | bits & 1 | (more ? 1 : 0);
        return Math.scalb((double) rounded, exponent + top * Long.SIZE - zeros + 1);
    }

    /** The words of a number without its sign. */
    private static long[] magnitude(long[] words, int at, int count) {
        long[] size = new long[count];
        boolean negative = words[at + count - 1] < 0;
        long carry = negative ? 1 : 0;
        for (int index = 0; index < count; index++) {
            long word = words[at + index];
            size[index] = negative ? ~word + carry : word;
            carry = carry == 1 && size[index] == 0 ? 1 : 0;
        }
        return size;
    }

    private static long[] product(long[] one, long[] other) {
        long[] product = new long[one.length + other.length];
        for (int left = 0; left < one.length; left++) {
            long carry = 0;
            for (int right = 0; right < other.length; right++) {
                int at = left + right;
                long low = one[left] * other[right];
                long sum = product[at] + low;
                product[at] = sum + carry;
                // All of it fits into two words.
                carry = multiplyHigh(one[left], other[right])
                        + (Long.compareUnsigned(sum, low) < 0 ? 1 : 0)
                        + (Long.compareUnsigned(product[at], sum) < 0 ? 1 : 0);
            }
            product[left + other.length] = carry;
        }
        return product;
    }

    /** Of words without sign; Java 18 has it. */
    private static long multiplyHigh(long one, long other) {
        return Math.multiplyHigh(one, other) + (one >> 63 & other) + (other >> 63 & one);
    }
}
