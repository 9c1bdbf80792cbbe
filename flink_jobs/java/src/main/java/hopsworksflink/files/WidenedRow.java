package hopsworksflink.files;

import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.MapData;
import org.apache.flink.table.data.RawValueData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.types.RowKind;
import org.apache.flink.types.variant.Variant;

/** A row in which some columns hold an INT for a BIGINT, or a FLOAT for a DOUBLE. */
final class WidenedRow implements RowData {

    private final boolean[] widened;
    private RowData row;

    WidenedRow(boolean[] widened) {
        this.widened = widened;
    }

    WidenedRow of(RowData row) {
        this.row = row;
        return this;
    }

    @Override
    public long getLong(int column) {
        return widened[column] ? row.getInt(column) : row.getLong(column);
    }

    @Override
    public double getDouble(int column) {
        return widened[column] ? row.getFloat(column) : row.getDouble(column);
    }

    @Override
    public int getArity() {
        return row.getArity();
    }

    @Override
    public RowKind getRowKind() {
        return row.getRowKind();
    }

    @Override
    public void setRowKind(RowKind kind) {
        row.setRowKind(kind);
    }

    @Override
    public boolean isNullAt(int column) {
        return row.isNullAt(column);
    }

    @Override
    public boolean getBoolean(int column) {
        return row.getBoolean(column);
    }

    @Override
    public byte getByte(int column) {
        return row.getByte(column);
    }

    @Override
    public short getShort(int column) {
        return row.getShort(column);
    }

    @Override
    public int getInt(int column) {
        return row.getInt(column);
    }

    @Override
    public float getFloat(int column) {
        return row.getFloat(column);
    }

    @Override
    public StringData getString(int column) {
        return row.getString(column);
    }

    @Override
    public DecimalData getDecimal(int column, int precision, int scale) {
        return row.getDecimal(column, precision, scale);
    }

    @Override
    public TimestampData getTimestamp(int column, int precision) {
        return row.getTimestamp(column, precision);
    }

    @Override
    public <T> RawValueData<T> getRawValue(int column) {
        return row.getRawValue(column);
    }

    @Override
    public byte[] getBinary(int column) {
        return row.getBinary(column);
    }

    @Override
    public ArrayData getArray(int column) {
        return row.getArray(column);
    }

    @Override
    public MapData getMap(int column) {
        return row.getMap(column);
    }

    @Override
    public RowData getRow(int column, int fields) {
        return row.getRow(column, fields);
    }

    @Override
    public Variant getVariant(int column) {
        return row.getVariant(column);
    }
}
