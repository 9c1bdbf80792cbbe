package hopsworksflink.join;

import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.RowDataSerializer;
import org.apache.flink.table.types.logical.RowType;

/** Some columns of a row, always as the same bytes: state is looked up by them, also in what was read from a savepoint. */
final class ByKey implements KeySelector<RowData, RowData> {
    private static final long serialVersionUID = 1L;

    private final RowType type;
    private final RowData.FieldGetter[] columns;
    private transient RowDataSerializer serializer;

    /** @param type of the key. */
    ByKey(RowType type, RowData.FieldGetter[] columns) {
        this.type = type;
        this.columns = columns;
    }

    @Override
    public RowData getKey(RowData row) {
        if (serializer == null) {
            serializer = new RowDataSerializer(type);
        }
        GenericRowData key = new GenericRowData(columns.length);
        for (int index = 0; index < columns.length; index++) {
            key.setField(index, columns[index].getFieldOrNull(row));
        }
        return serializer.toBinaryRow(key).copy();
    }
}
